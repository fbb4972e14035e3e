"""CSV files as strangers send them, in the Handbook's columns."""

from pathlib import Path

HEADER = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD"
GOOD = "1,2018-04-01 00:00:31,596,3156,57.16,0"


def csv_of(folder: Path, *lines: str | bytes, header: str = HEADER) -> Path:
    path = folder / "transactions.csv"
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else line.encode() for line in (header, *lines)) + b"\n"
    )
    return path
