"""The `config` block of the provider `inline::local-files` in run.yaml."""

from pydantic import BaseModel, ConfigDict, Field


class LocalFilesConfig(BaseModel):
    """Uploaded files in one folder. Several processes may use it at once."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, description="The folder of the files.")
    max_bytes: int = Field(
        default=104_857_600, ge=1, description="The largest file, in bytes, that is accepted."
    )
