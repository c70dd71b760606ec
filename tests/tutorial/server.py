import socket
import sys
import threading

HOST = "127.0.0.1"
PORT = int(sys.argv[1])


def handle_client(client_socket, address):
    print(f"New connection from {address}")
    while True:
        data = client_socket.recv(1024)
        if not data:
            break
        text = data.decode()
        print(f"Received from {address}: {text}")
        client_socket.sendall(("Server received: " + text).encode())
    client_socket.close()
    print(f"Connection closed for {address}")


def main():
    server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server_socket.bind((HOST, PORT))
    server_socket.listen(5)
    print(f"TCP Server started on {HOST}:{server_socket.getsockname()[1]}")
    print("Waiting for client connections...")

    while True:
        client_socket, address = server_socket.accept()
        thread = threading.Thread(target=handle_client, args=(client_socket, address))
        thread.daemon = True
        thread.start()


if __name__ == "__main__":
    main()
