"""`excguard decode`: numbers in, words out."""

from __future__ import annotations

import click
import msgspec

from excguard.decode import DecodeError, Violation, decode, parse_number
from excguard.knowledge.releases import ReleaseError


@click.command("decode", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="CODE [SUBCODE]")
@click.option(
    "--os", "release", metavar="RELEASE", help="The release the numbers come from: 14.4, 23E214, ..."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(words: tuple[str, ...], release: str | None, *, as_json: bool) -> None:
    """Say what an EXC_GUARD code and subcode mean."""
    if not 1 <= len(words) <= 2:
        raise click.UsageError("give one or two numbers: CODE [SUBCODE]")
    try:
        numbers = [parse_number(word) for word in words]
        violation = decode(numbers[0], numbers[1] if len(numbers) > 1 else None, release)
    except (DecodeError, ReleaseError) as error:
        raise click.UsageError(str(error)) from None
    click.echo(msgspec.json.encode(violation.to_dict()).decode() if as_json else _text(violation))


def _text(violation: Violation) -> str:
    return violation.summary
