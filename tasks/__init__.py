"""FILES: one file a stage; reads a ledger and shards, writes the next."""
