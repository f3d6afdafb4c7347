"""Policy `geo` without geometry, for the table of ablations; see README.md."""
