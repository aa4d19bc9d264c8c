/* An HTTP server in one thread: waits in poll_oneoff, serves on the listeners it was given (LISTEN_FDS), keeps
 * connections open. `/` greets, `/name` tells HOSTNAME, `/open` tells how many connections are open, `/big` sends a
 * mebibyte, `/end` ends it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/api.h>

#define MOST 4096

struct connection {
    int fd;
    size_t received, sent, answer_length;
    char request[1024], *answer;
    int last; /* to be closed after the answer */
};

static struct connection connections[MOST];
static size_t open_connections, accepted;
static int ends;
static __wasi_subscription_t subscriptions[MOST + 8];
static __wasi_event_t events[MOST + 8];

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void close_connection(struct connection *connection) {
    close(connection->fd);
    free(connection->answer);
    *connection = connections[--open_connections];
}

static void accept_all(int listener) {
    while (open_connections < MOST) {
        int fd = accept4(listener, 0, 0, SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno != EAGAIN) fail("accept");
            return;
        }
        connections[open_connections++] = (struct connection){ .fd = fd };
        accepted++;
    }
}

static void answer(struct connection *connection) {
    size_t length = 0;
    char *body = 0;
    connection->last = strstr(connection->request, "Connection: close") != 0;
    if (!strncmp(connection->request, "GET /open ", 10))
        length = asprintf(&body, "%zu open, %zu accepted\n", open_connections, accepted);
    else if (!strncmp(connection->request, "GET /name ", 10))
        length = asprintf(&body, "%s\n", getenv("HOSTNAME"));
    else if (!strncmp(connection->request, "GET /big ", 9))
        body = memset(malloc(1 << 20), 'x', length = 1 << 20);
    else
        length = asprintf(&body, "hello from wasm\n");
    if (!strncmp(connection->request, "GET /end ", 9)) ends = connection->last = 1;
    connection->answer = malloc(length + 100);
    connection->answer_length = sprintf(connection->answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", length);
    memcpy(connection->answer + connection->answer_length, body, length);
    connection->answer_length += length;
    connection->sent = 0;
    free(body);
}

/* 0 when the connection is to be closed. */
static int read_request(struct connection *connection) {
    ssize_t length = recv(connection->fd, connection->request + connection->received,
                          sizeof connection->request - 1 - connection->received, 0);
    if (length < 0) return errno == EAGAIN;
    connection->received += length;
    connection->request[connection->received] = 0;
    if (length == 0) return 0;
    if (strstr(connection->request, "\r\n\r\n")) answer(connection);
    return connection->received < sizeof connection->request - 1;
}

static int write_answer(struct connection *connection) {
    ssize_t length = send(connection->fd, connection->answer + connection->sent,
                          connection->answer_length - connection->sent, 0);
    if (length < 0) return errno == EAGAIN;
    connection->sent += length;
    if (connection->sent < connection->answer_length) return 1;
    free(connection->answer);
    connection->answer = 0;
    connection->received = 0;
    return !connection->last;
}

static __wasi_subscription_t wants(int fd, int writing, size_t data) {
    __wasi_subscription_t wanted = { .userdata = data };
    wanted.u.tag = writing ? __WASI_EVENTTYPE_FD_WRITE : __WASI_EVENTTYPE_FD_READ;
    if (writing) wanted.u.u.fd_write.file_descriptor = fd;
    else wanted.u.u.fd_read.file_descriptor = fd;
    return wanted;
}

int main(void) {
    int first = atoi(getenv("LISTEN_FDS_FIRST_FD")), listeners = atoi(getenv("LISTEN_FDS"));
    for (int i = 0; i < listeners; i++)
        if (fcntl(first + i, F_SETFL, O_NONBLOCK) < 0) fail("a listener that does not wait");
    /* It is ready; a copy goes on from here. */
    struct stat ready;
    stat("/.warm-start", &ready);
    printf("serving on %d\n", listeners);
    fflush(stdout);
    while (!ends || open_connections > 0) {
        size_t count = 0, happened = 0;
        for (int i = 0; i < listeners && open_connections < MOST && !ends; i++)
            subscriptions[count++] = wants(first + i, 0, MOST + i);
        for (size_t i = 0; i < open_connections; i++)
            subscriptions[count++] = wants(connections[i].fd, connections[i].answer != 0, i);
        if ((errno = __wasi_poll_oneoff(subscriptions, events, count, &happened))) fail("poll_oneoff");
        /* From the end: a closed connection's place is taken by the last one. */
        for (size_t i = happened; i-- > 0;) {
            size_t data = events[i].userdata;
            struct connection *connection = &connections[data];
            if (data >= MOST) accept_all(first + data - MOST);
            else if (events[i].error) close_connection(connection);
            else if (!(connection->answer ? write_answer(connection) : read_request(connection)))
                close_connection(connection);
        }
        if (ends)
            for (size_t i = open_connections; i-- > 0;)
                if (!connections[i].answer) close_connection(&connections[i]);
    }
    return 0;
}
