"""The command line of the server, as data.

`kinds` says how one value is read, `table` what a flag is, `served`, `sampling`, `ignored` and
`refused` hold the flags, and `parse` turns arguments and environment into values.
"""
