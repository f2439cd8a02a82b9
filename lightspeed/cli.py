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
) -> None:
    if version:
        print(f"lightspeed {__version__}")
        raise typer.Exit
    context.obj = Options(config, verbose)
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
    if not configuration.service.color_log:
        configure_logging(verbose=verbose, color=False)
    raise typer.Exit(serve_command(configuration, source, host=host, port=port))


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
    paths: Annotated[list[str], typer.Argument(help="Files, folders or patterns.", metavar="PATH...")],
    store: Annotated[str, typer.Option("--store", help="The knowledge store to fill.")] = "knowledge",
    if_empty: Annotated[
        bool, typer.Option("--if-empty", help="Do nothing if the store has content.")
    ] = False,
    config: ConfigurationOption = None,
    verbose: VerboseOption = False,
) -> None:
    """Add documents to a knowledge store: text, Markdown, HTML, PDF. Unchanged ones are skipped."""
    from lightspeed.commands.ingest import ingest_command

    configuration, source = _loaded(context, config, verbose)
    raise typer.Exit(ingest_command(configuration, source, paths, store, if_empty=if_empty))


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
