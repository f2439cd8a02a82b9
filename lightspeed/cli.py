"""The command line: arguments in, exit code out.

Exit codes: 0 done; 1 the configuration is wrong, the address is taken, or a file could not be read; 2 wrong
arguments; 3 a part of the service cannot start.
"""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lightspeed import __version__
from lightspeed.configuration.loading import load_configuration, state_directory
from lightspeed.errors import ConfigurationError, LightspeedError, StartupError
from lightspeed.telemetry.logging import configure_logging

if TYPE_CHECKING:
    from lightspeed.configuration.root import Configuration

CONFIGURATION_FILE = "lightspeed-stack.yaml"

app = typer.Typer(
    name="lightspeed",
    help="Answers questions about a product from that product's documents.",
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigurationOption = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        help=f"Configuration file. Default: {CONFIGURATION_FILE} here or in ./config, else the built-in one.",
        show_default=False,
    ),
]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="Log everything.")]


class Options:
    """What stands before the command."""

    def __init__(self, config: Path | None, verbose: bool) -> None:
        self.config = config
        self.verbose = verbose


@app.callback()
def _main(
    context: typer.Context,
    config: ConfigurationOption = None,
    verbose: VerboseOption = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    dump_configuration: Annotated[
        bool,
        typer.Option(
            "-d", "--dump-configuration", help="Write configuration.json, without secrets, here and end."
        ),
    ] = False,
    dump_schema: Annotated[
        bool,
        typer.Option(
            "-s",
            "--dump-schema",
            help="Write schema.json, which describes the configuration file, here and end.",
        ),
    ] = False,
) -> None:
    if version:
        print(f"lightspeed {__version__}")
        raise typer.Exit
    context.obj = Options(config, verbose)
    if dump_configuration or dump_schema:
        from lightspeed.commands import dump

        # Where both are wanted the configuration wins, and a schema needs a valid file too.
        configuration, _ = _loaded(context, None, verbose=False)
        folder = Path.cwd()
        raise typer.Exit(
            dump.dump_configuration(configuration, folder) if dump_configuration else dump.dump_schema(folder)
        )
    if context.invoked_subcommand is None:
        serve(context)


@app.command()
def serve(
    context: typer.Context,
    config: ConfigurationOption = None,
    verbose: VerboseOption = False,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on, instead of the configured one.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on, instead of the configured one.")
    ] = None,
) -> None:
    """Serve the API and answer questions. This is what happens without a command, too."""
    from lightspeed.commands.serve import serve_command

    options: Options = context.obj
    source = _source(config or options.config)
    verbose = verbose or options.verbose
    configure_logging(verbose=verbose)
    configuration = load_configuration(source, os.environ)
    service = configuration.service
    if not service.color_log or service.log_format != "text":
        color = None if service.color_log else False
        configure_logging(verbose=verbose, color=color, log_format=service.log_format)
    raise typer.Exit(serve_command(configuration, source, host=host, port=port))


@app.command()
def check(
    context: typer.Context,
    config: ConfigurationOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Check both configuration files and tell what they would start, without starting it."""
    from lightspeed.commands.check import check_command

    options: Options = context.obj
    configure_logging("ERROR", verbose=verbose or options.verbose)
    raise typer.Exit(check_command(_source(config or options.config)))


@app.command()
def ask(
    context: typer.Context,
    question: Annotated[list[str], typer.Argument(help="The question.")],
    config: ConfigurationOption = None,
    verbose: VerboseOption = False,
    model: Annotated[
        str | None, typer.Option("-m", "--model", help="PROVIDER/MODEL instead of the default one.")
    ] = None,
    conversation: Annotated[
        str | None, typer.Option("--conversation", help="Continue the conversation with this id.")
    ] = None,
) -> None:
    """Ask one question here, without a running service."""
    from lightspeed.commands.ask import ask_command

    configuration, source = _loaded(context, config, verbose)
    raise typer.Exit(
        ask_command(configuration, source, " ".join(question), model=model, conversation=conversation)
    )


@app.command()
def ingest(
    context: typer.Context,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, patterns or web addresses.", metavar="PATH...")
    ] = None,
    store: Annotated[str, typer.Option("--store", help="The knowledge store to fill.")] = "knowledge",
    if_empty: Annotated[
        bool, typer.Option("--if-empty", help="Do nothing if an ingest into the store was completed before.")
    ] = False,
    sync: Annotated[
        bool,
        typer.Option("--sync", help="Remove documents whose files have vanished from the given folders."),
    ] = False,
    allow_url: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-url", help="A host that web pages may be read from; can be repeated.", metavar="HOST"
        ),
    ] = None,
    allow_private: Annotated[
        bool,
        typer.Option(
            "--allow-private", help="The allowed hosts may be in private networks or on this machine."
        ),
    ] = False,
    database: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A database of Llama Stack's inline::faiss to take passages over from.",
            metavar="FILE",
        ),
    ] = None,
    database_store: Annotated[
        str | None, typer.Option("--from-store", help="The store in that database.", metavar="ID")
    ] = None,
    embedding_model: Annotated[
        str | None,
        typer.Option(
            "--embedding-model",
            help="The model of run.yaml that made the vectors in that database.",
            metavar="NAME",
        ),
    ] = None,
    config: ConfigurationOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Add documents to a knowledge store. Unchanged ones are skipped, changed ones replaced.

    Reads text, Markdown, reStructuredText, AsciiDoc, HTML, PDF, Word (DOCX), JSON and YAML.
    """
    from lightspeed.commands.ingest import IngestOptions, ingest_command

    if not paths and database is None:
        raise typer.BadParameter("give at least one path, or --from FILE")
    if not all((store, *(paths or ()))):
        # What an unset variable of a shell leaves; an empty path would be the folder that one is in.
        raise typer.BadParameter("a path or the name of the store is empty")
    for option, value in (("--from-store", database_store), ("--embedding-model", embedding_model)):
        if value is not None and database is None:
            raise typer.BadParameter(f"{option} needs --from FILE")
    configuration, source = _loaded(context, config, verbose)
    chosen = IngestOptions(
        tuple(paths or ()),
        store,
        if_empty=if_empty,
        sync=sync,
        allowed_hosts=tuple(allow_url or ()),
        allow_private=allow_private,
        database=database,
        database_store=database_store,
        embedding_model=embedding_model,
    )
    raise typer.Exit(ingest_command(configuration, source, chosen))


@app.command()
def collect(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Send what is there, then end.")] = False,
    config: ConfigurationOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Send feedback and transcripts to the configured ingress service."""
    from lightspeed.commands.collect import collect_command

    configuration, source = _loaded(context, config, verbose)
    raise typer.Exit(collect_command(configuration, source, once=once))


@app.command()
def purge(
    context: typer.Context,
    user: Annotated[
        str | None, typer.Option("--user", help="Erase all that is kept of this user.", metavar="ID")
    ] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="Remove what is older than the configured retention.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigurationOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Erase conversations, transcripts and feedback for good."""
    from lightspeed.commands.purge import purge_command

    if (user is None) is not expired:
        raise typer.BadParameter("give either --user ID or --expired")
    configuration, source = _loaded(context, config, verbose)
    raise typer.Exit(purge_command(configuration, source, user, yes=yes))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; errors become one line each on standard error."""
    os.environ.setdefault("LIGHTSPEED_STATE", str(state_directory(os.environ)))
    try:
        app(args=arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return 130
    except ConfigurationError as error:
        for problem in error.problems:
            _complain(problem)
        return 1
    except StartupError as error:
        _complain(str(error))
        return 3
    except LightspeedError as error:
        _complain(str(error))
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception as error:
        logging.getLogger(__name__).debug("The cause", exc_info=True)
        _complain(f"{type(error).__name__}: {' '.join(str(error).split())} (-v tells more)")
        return 1
    return 0


def _complain(problem: str) -> None:
    print(f"lightspeed: {problem}", file=sys.stderr)


def _loaded(context: typer.Context, config: Path | None, verbose: bool) -> "tuple[Configuration, Path]":
    """The configuration and its file, for a command of the terminal: only warnings are logged."""
    options: Options = context.obj
    source = _source(config or options.config)
    configure_logging("WARNING", verbose=verbose or options.verbose)
    return load_configuration(source, os.environ), source


def _source(given: Path | None) -> Path:
    """The configuration file: the given one, else one in the usual places, else the one that comes with the package."""
    if given is not None:
        return given
    package = Path(__file__).resolve().parent
    places = (Path(), Path("config"), package / "config", package.parent / "config")
    for place in places:
        if (place / CONFIGURATION_FILE).is_file():
            return place / CONFIGURATION_FILE
    return Path(CONFIGURATION_FILE)
