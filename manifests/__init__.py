"""RECORDS: what is asked (manifest), what came out (lock), every picture ever seen (ledger)."""
