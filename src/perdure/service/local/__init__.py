"""One SQLite file, many processes: its owner serves the contract on a socket beside it, the others join.

`frames` is what travels, `address` where, `server` the owner's end, `connection` the others', and `shared_file` decides which of the
two this process is, again whenever an owner goes.
"""
