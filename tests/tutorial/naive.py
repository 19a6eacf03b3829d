import socket
import sys
import threading

clients = []


def serve(connection):
    while True:
        data = connection.recv(1024)
        if not data:
            break
        message = data.decode()
        print("Received message:", message)
        connection.send(f"Server received your message: {message}".encode())
    clients.remove(connection)
    connection.close()


def main():
    host, port = sys.argv[-1].rsplit(":", 1)
    server = socket.socket()
    server.bind((host, int(port)))
    server.listen(5)
    print("Server listening on", sys.argv[-1])
    while True:
        connection, address = server.accept()
        print("Accepted connection from", address)
        clients.append(connection)
        threading.Thread(target=serve, args=(connection,)).start()


main()
