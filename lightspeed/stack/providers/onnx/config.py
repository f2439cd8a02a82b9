"""The `config` block of the provider `inline::onnx` in run.yaml."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PoolingMode = Literal["mean", "cls", "max"]


class OnnxModel(BaseModel):
    """One embedding model. What is null is read from the model's own configuration."""

    model_config = ConfigDict(extra="forbid")

    directory: str = Field(
        min_length=1,
        description="The directory that holds the ONNX file: a path, or package:<import name>[/<directory inside>].",
    )
    tokenizer: str | None = Field(
        default=None,
        min_length=1,
        description="The directory of tokenizer.json and of the model's configuration (modules.json, 1_Pooling, "
        "sentence_bert_config.json, ...), written as `directory` is; null: the same directory.",
    )
    file: str | None = Field(
        default=None,
        min_length=1,
        description="The ONNX file inside `directory`; null: model.onnx, onnx/model.onnx, or the only .onnx file.",
    )
    pooling: PoolingMode | None = Field(
        default=None,
        description="How the vectors of the tokens become one vector; null: 1_Pooling/config.json, else mean. "
        "A model that answers with one vector for each text needs none.",
    )
    normalize: bool | None = Field(
        default=None,
        description="Scale each vector to length 1; null: whether modules.json lists a Normalize module.",
    )
    max_length: int | None = Field(
        default=None,
        ge=4,
        description="Tokens after which a text is cut, special tokens included; null: sentence_bert_config.json, "
        "else the smaller of the tokenizer's and the model's own limit, else 512.",
    )
    lower_case: bool | None = Field(
        default=None,
        description="Lower-case texts before the tokenizer sees them; null: sentence_bert_config.json. "
        "Lower-casing that tokenizer.json itself prescribes happens in any case.",
    )


class OnnxConfig(BaseModel):
    """Embedding models that run in this process."""

    model_config = ConfigDict(extra="forbid")

    models: dict[str, OnnxModel] = Field(
        min_length=1, description="The models by name; the public id of a model is <provider_id>/<name>."
    )
    threads: int | None = Field(
        default=None, ge=1, description="Cores that compute one batch together (intra-op threads); null: 1."
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description="Batches of large requests that are computed at the same time; null: all usable cores but one. "
        "Small requests have one place more than this beside them.",
    )
    batch_size: int = Field(default=32, ge=1, description="The most texts in one batch.")
    batch_tokens: int = Field(
        default=512,
        ge=1,
        description="The most tokens in one batch, padding included; a longer text is a batch of its own.",
    )
