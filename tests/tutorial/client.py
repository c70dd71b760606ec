import socket
import sys
import threading

HOST = sys.argv[1]
PORT = int(sys.argv[2])


def receive_messages(client_socket):
    while True:
        try:
            data = client_socket.recv(1024)
            if not data:
                print("Server closed the connection")
                break
            print("Server: " + data.decode())
        except OSError:
            break


def main():
    client_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client_socket.connect((HOST, PORT))
    print(f"Connected to server at {HOST}:{PORT}")
    print("Type messages to send to server (type 'quit' to exit):")

    thread = threading.Thread(target=receive_messages, args=(client_socket,))
    thread.daemon = True
    thread.start()

    while True:
        message = input("> ")
        if message == "quit":
            break
        client_socket.send(message.encode())

    client_socket.close()
    print("Disconnected from server")


if __name__ == "__main__":
    main()
