"""A cell: tries what a guest must not reach, and what it may; says what became of it, and whether it was told in a second."""
import errno, socket, time
for at in TARGETS:
    begun = time.monotonic()
    try:
        socket.create_connection(at, 5).close()
        outcome = "open"
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, str(error))
    print(at[0], at[1], outcome, time.monotonic() - begun < 1)
