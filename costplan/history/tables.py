"""The two tables of a history. Times are UTC text, which sorts and reads the same in every database."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, UniqueConstraint

from costplan.history.entry import LONGEST_NAME

TABLES = MetaData()
_REQUIRED = ("usd_per_mtok_out", "usd_per_h", "output_tok_s")
NUMBERS = (*_REQUIRED, "requests_per_s", "ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s", "low90", "high90")
META = Table("costplan_history_meta", TABLES, Column("name", String(40), primary_key=True),
             Column("value", String(200), nullable=False))
ENTRIES = Table(
    "costplan_history_entries", TABLES, Column("id", Integer, primary_key=True),
    Column("service", String(LONGEST_NAME), nullable=False), Column("kind", String(10), nullable=False),
    Column("at", String(20), nullable=False), Column("source", String(40), nullable=False),
    Column("digest", String(64), nullable=False), Column("configuration", String(400), nullable=False),
    *(Column(name, Float(53), nullable=name not in _REQUIRED) for name in NUMBERS),
    UniqueConstraint("service", "kind", "at", "digest"))
