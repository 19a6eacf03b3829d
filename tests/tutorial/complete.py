# The tutorial's server in Python, with the repairs of the book.
import contextlib
import signal
import socket
import sys
import threading
import time


def read_line(connection, buffer):
    deadline = time.monotonic() + 30
    while b"\n" not in buffer:
        if len(buffer) > 65536:
            raise ValueError("the line is too long")
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        data = connection.recv(4096)
        if not data:
            return b""
        buffer += data
    line, _, rest = buffer.partition(b"\n")
    buffer[:] = rest
    return bytes(line) + b"\n"


def close_with(last_line, connection):
    deadline = time.monotonic() + 1
    with connection, contextlib.suppress(OSError):  # also the error if 1 s is over
        connection.settimeout(1)
        connection.sendall(last_line)
        connection.shutdown(socket.SHUT_WR)
        while time.monotonic() < deadline and connection.recv(4096):
            pass


def reply_to(line):
    try:
        text = line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        return b"Server rejected your message: not UTF-8\n"
    print("Received message:", repr(text), flush=True)
    return f"Server received your message: {text}\n".encode()


def serve(connection, clients):
    buffer = bytearray()
    with connection:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while line := read_line(connection, buffer):
                connection.settimeout(30)  # `read_line` has changed it
                connection.sendall(reply_to(line))
        except ValueError as error:
            close_with(f"Server closed your connection: {error}\n".encode(), connection)
        except OSError as error:
            print("A connection is closed:", error, flush=True)
        finally:
            clients.discard(connection)


def accept(listener, clients):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError as error:
            print("Cannot accept a connection:", error, flush=True)
            time.sleep(0.1)
            continue
        clients.add(connection)
        try:
            threading.Thread(target=serve, args=(connection, clients)).start()
        except RuntimeError as error:
            print("Cannot serve a connection:", error, flush=True)
            clients.discard(connection)
            connection.close()


def main():
    host, port = sys.argv[-1].rsplit(":", 1)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    threading.stack_size(256 * 1024)
    listener = socket.create_server((host, int(port)), backlog=1024)
    print("Server listening on", sys.argv[-1], flush=True)
    clients = set()
    try:
        accept(listener, clients)
    finally:
        for connection in list(clients):
            with contextlib.suppress(OSError):  # it may have ended just now
                connection.shutdown(socket.SHUT_RD)


main()
