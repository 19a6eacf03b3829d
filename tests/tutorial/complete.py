# The tutorial's server in Python, with the repairs of the book's parts "In Python".
import contextlib
import signal
import socket
import sys
import threading
import time

# In a shutdown, threads take no line after this time.
stops_at = float("inf")


class LineTooLong(Exception):
    pass


def log(line):
    with contextlib.suppress(OSError):  # nobody may read the log
        print(line + "\n", end="", flush=True)  # one write for each line


def read_line(connection, buffer):
    deadline = time.monotonic() + 30
    while b"\n" not in buffer and len(buffer) <= 65537:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(4096)
        if not data:
            return b""
        buffer += data
    line, _, rest = buffer.partition(b"\n")
    if len(line.removesuffix(b"\r")) > 65536:
        raise LineTooLong
    buffer[:] = rest
    return bytes(line) + b"\n"


def close_with(last_line, connection):
    deadline = time.monotonic() + 1
    with connection, contextlib.suppress(OSError):  # also the error if 1 s is over
        connection.settimeout(1)
        connection.sendall(last_line)
        connection.shutdown(socket.SHUT_WR)
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(4096):
                break


def reply_to(line):
    try:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return b"Server rejected your message: not UTF-8\n"
    log(f"Received message: {ascii(text)}")
    return f"Server received your message: {text}\n".encode()


def serve(connection, clients):
    buffer = bytearray()
    last_line = b""
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < stops_at and (line := read_line(connection, buffer)):
            connection.settimeout(30)  # `read_line` has changed it
            connection.sendall(reply_to(line))
    except LineTooLong:
        last_line = b"Server rejected your message: longer than 65536 bytes\n"
    except OSError as error:
        log(f"A connection is closed: {error}")
    finally:
        close_with(last_line, connection)
        clients.pop(connection, None)


def accept(listener, clients):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            log(f"Cannot accept a connection: {error}")
            time.sleep(0.1)
            continue
        try:
            thread = threading.Thread(target=serve, args=(connection, clients), daemon=True)
            clients[connection] = thread
            thread.start()
        except (RuntimeError, MemoryError) as error:
            log(f"Cannot serve a connection: {error}")
            clients.pop(connection, None)
            connection.close()


def stop(clients):
    global stops_at
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # do not stop twice
    stops_at = time.monotonic() + 2
    deadline = time.monotonic() + 5
    for connection in list(clients):
        with contextlib.suppress(OSError):  # it may have ended just now
            connection.shutdown(socket.SHUT_RD)
    for thread in list(clients.values()):
        with contextlib.suppress(RuntimeError):  # it may not have started
            thread.join(max(deadline - time.monotonic(), 0))


def main():
    host, port = sys.argv[-1].rsplit(":", 1)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    threading.stack_size(256 * 1024)
    listener = socket.create_server((host, int(port)), backlog=1024)
    log(f"Server listening on {sys.argv[-1]}")
    clients = {}  # each connection's thread
    try:
        accept(listener, clients)
    finally:
        stop(clients)


main()
