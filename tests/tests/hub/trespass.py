"""A cell: calls to whom a guest must not reach; what each was told, and whether within a second."""
import errno, json, socket, time


def told(call):
    begun = time.monotonic()
    try:
        call()
        outcome = "open"
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, str(error))
    return [outcome, time.monotonic() - begun < 1]


def ask(kind, call):
    with socket.socket(socket.AF_INET, kind) as asker:
        asker.settimeout(5)
        return told(lambda: call(asker))


def calls(ip):
    by_tcp = ask(socket.SOCK_STREAM, lambda asker: asker.connect((ip, PORT)))
    by_udp = ask(socket.SOCK_DGRAM, lambda asker: asker.sendto(b"trespass", (ip, PORT)))
    return [by_tcp, by_udp]
