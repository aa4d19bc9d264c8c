/* Sockets of its own, through WAMR's library for them. Does what its arguments say, one word of outcome a line:
 * resolve HOST, connect HOST PORT (sends a line, prints the answer), serve PORT COUNT, datagram HOST PORT, bind ADDRESS PORT,
 * buffers. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wasi_socket_ext.h>

/* WAMR's library asks for it, and Debian's C library does not have it yet. */
int *__errno_location(void) { return &errno; }

static int failed(const char *what) {
    printf("%s: %s\n", what, errno == EACCES ? "EACCES" : strerror(errno));
    return 1;
}

static struct addrinfo *lookup(const char *host, const char *port, int type) {
    struct addrinfo hints = { .ai_socktype = type }, *found = 0;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error == EAI_SYSTEM) failed("resolve");
    else if (error) printf("resolve: %s\n", gai_strerror(error));
    return error ? 0 : found;
}

static int resolve(const char *host) {
    char text[INET6_ADDRSTRLEN];
    struct addrinfo *found = lookup(host, "http", SOCK_STREAM);
    for (; found; found = found->ai_next) {
        void *address = found->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr
                                                    : (void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr;
        printf("%s\n", inet_ntop(found->ai_family, address, text, sizeof text));
    }
    return 0;
}

static int dial(const char *host, const char *port) {
    char text[200];
    ssize_t length;
    struct addrinfo *found = lookup(host, port, SOCK_STREAM);
    for (; found; found = found->ai_next) {
        int fd = socket(found->ai_family, SOCK_STREAM, 0);
        if (fd < 0) return failed("socket");
        if (connect(fd, found->ai_addr, found->ai_addrlen) < 0) {
            failed("connect");
            close(fd);
            continue;
        }
        if (send(fd, "from wasm\n", 10, 0) != 10) return failed("send");
        while ((length = recv(fd, text, sizeof text, 0)) > 0) printf("%.*s", (int)length, text);
        if (length < 0) return failed("recv");
        return close(fd);
    }
    return 1;
}

static int serve(const char *port, int count) {
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) }, peer;
    socklen_t length = sizeof peer;
    char text[200];
    int listener = socket(AF_INET6, SOCK_STREAM, 0);
    if (listener < 0) return failed("socket");
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0) return failed("bind");
    if (listen(listener, 10) < 0) return failed("listen");
    printf("serving\n");
    fflush(stdout);
    while (count-- > 0) {
        int fd = accept(listener, (struct sockaddr *)&peer, &length);
        if (fd < 0) return failed("accept");
        ssize_t received = recv(fd, text, sizeof text, 0);
        if (received < 0) return failed("recv");
        /* All of it arrives although the socket is closed at once. */
        for (int i = 0; i < 100; i++)
            if (send(fd, text, received, 0) != received) return failed("send");
        close(fd);
    }
    return close(listener);
}

static int datagram(const char *host, const char *port) {
    char text[200];
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    struct addrinfo *found = lookup(host, port, SOCK_DGRAM);
    if (!found) return 1;
    int fd = socket(found->ai_family, SOCK_DGRAM, 0);
    if (fd < 0) return failed("socket");
    if (sendto(fd, "ping", 4, 0, found->ai_addr, found->ai_addrlen) != 4) return failed("sendto");
    ssize_t received = recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&peer, &length);
    if (received < 0) return failed("recvfrom");
    printf("%.*s\n", (int)received, text);
    return close(fd);
}

static int bind_only(const char *host, const char *port) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
    inet_pton(AF_INET, host, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return failed("socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) return failed("bind");
    if (listen(fd, 1) < 0) return failed("listen");
    puts("bound");
    return close(fd);
}

static int listen_only(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return failed("socket");
    if (listen(fd, 1) < 0) return failed("listen");
    puts("listening");
    return close(fd);
}

static int buffers(void) {
    struct { int before, size, after; } memory = { 1, 0, 2 };
    socklen_t length = sizeof memory.size;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return failed("socket");
    if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &memory.size, &length) < 0) return failed("getsockopt");
    puts(memory.before == 1 && memory.after == 2 && memory.size > 0 ? "whole" : "written over");
    return close(fd);
}

int main(int argc, char **argv) {
    for (char **next = argv + 1; *next;) {
        const char *what = *next++;
        if (!strcmp(what, "resolve")) resolve(*next++);
        else if (!strcmp(what, "connect")) dial(next[0], next[1]), next += 2;
        else if (!strcmp(what, "serve")) serve(next[0], atoi(next[1])), next += 2;
        else if (!strcmp(what, "datagram")) datagram(next[0], next[1]), next += 2;
        else if (!strcmp(what, "bind")) bind_only(next[0], next[1]), next += 2;
        else if (!strcmp(what, "listen")) listen_only();
        else if (!strcmp(what, "buffers")) buffers();
        else return 2;
    }
    return 0;
}
