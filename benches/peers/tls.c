// The least that echoes through OpenSSL, one connection at a time: tls CERT KEY PORT
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(ctx, argv[1]) != 1 || SSL_CTX_use_PrivateKey_file(ctx, argv[2], SSL_FILETYPE_PEM) != 1) return 2;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 4096)) return 2;
    for (;;) {
        int fd = accept(listener, 0, 0);
        SSL *ssl = SSL_new(ctx);
        SSL_set_fd(ssl, fd);
        char buf[65536];
        if (SSL_accept(ssl) == 1)
            for (int n; (n = SSL_read(ssl, buf, sizeof buf)) > 0;) SSL_write(ssl, buf, n);
        SSL_shutdown(ssl);
        SSL_free(ssl);
        close(fd);
    }
}
