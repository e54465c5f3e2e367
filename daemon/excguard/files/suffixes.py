"""Names of files with reports, by how they end; here, since a list of them needs no reader of reports."""

REPORTS = (".ips", ".crash", ".txt", ".dmp", ".synced")
"""One report each, as Apple's systems and crash reporters write them."""
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
"""Many reports each."""
IN_ARCHIVES = (*REPORTS, ".json", ".jsonl", ".ndjson", ".log")
"""Members of archives that are read: reports, and the output of other tools beside them."""
