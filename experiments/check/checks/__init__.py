"""The checks, one file each; `docs/checks.md` says how to write one."""
