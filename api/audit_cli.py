"""`python -m api audit`: whether every decision of the lake is there, in its place, and as it was made."""

import argparse
import sys
from collections import defaultdict

from fraud_assets.contracts.chain import Head, verify
from fraud_assets.settings import Settings, read_settings


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The command and its one verb."""
    audit = commands.add_parser("audit", help="verify the chain of decisions")
    verbs = audit.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser(
        "verify", help="name every decision of the lake that was altered, dropped or moved; exit 1 if there is one"
    )
    check.add_argument(
        "--head", type=_head, action="append", default=[], metavar="CHAIN:POSITION:SHA256",
        help="a head that an earlier run printed and that was kept elsewhere; may be repeated",
    )  # fmt: skip


def run(chosen: argparse.Namespace) -> None:
    """Prints the chains and what is wrong with them. Ends the process with 1 if anything is."""
    # What reads the lake is not in the scorer's image; this command runs where the platform is installed.
    from fraud_assets.stores.decision_chains import read_chains
    from fraud_assets.stores.lake import Lake

    lake_uri = read_settings(Settings).lake_uri
    chains, unchained = read_chains(Lake(lake_uri))
    kept: dict[str, dict[int, str]] = defaultdict(dict)
    for head in chosen.head:
        kept[head.chain_id][head.position] = head.sha256
    if not (chains or unchained or kept):
        sys.exit(f"{lake_uri} holds no decision, so nothing was verified. FRAUD_LAKE_URI says where the lake is.")
    found = []
    for chain_id in sorted({*chains, *kept}):
        links = chains.get(chain_id, [])
        findings, head = verify(chain_id, links, kept[chain_id])
        found += findings
        print(f"{len(links):>10,} decisions, {len(findings):,} findings, head {head}")
    if unchained:
        print(f"{unchained:>10,} decisions are in no chain: they were made before there were any")
    print(*found, sep="\n", end="\n" if found else "")
    if found:
        sys.exit(
            f"{len(found):,} findings. The row of a decision says where it came from: source_partition, source_offset."
        )
    told = f"{len(chains):,} chains with {sum(map(len, chains.values())):,} decisions: every chain is whole."
    print(f"{told} Keep the heads elsewhere, and give them to the next run with --head.")


def _head(text: str) -> Head:
    try:
        return Head.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no head; one is CHAIN:POSITION:SHA256") from None
