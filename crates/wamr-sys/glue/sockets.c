/*
 * The socket functions of WASI preview 1 and of WAMR's extension, in place of WAMR's own: with their flags honoured,
 * without a copy of the data, with a wait that the wakeup signal ends, and with this project's address policy.
 */

#include "glue.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "descriptors.h"
#include "libc_errno.h"
#include "thread_manager.h"
#include "warm.h"
#include "wasm_runtime.h"

/* As many as the kernel takes in one call (IOV_MAX). */
#define MOST_BUFFERS 1024
/* So many are described on the stack. */
#define FEW_BUFFERS 16

/* A buffer as the guest describes it. */
typedef struct guest_buffer {
    uint32 start;
    uint32 length;
} guest_buffer;

typedef union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} address;

static glue_socket_allowed *socket_allowed;
static glue_resolve *resolve_name;

void
glue_sockets_set_network(glue_socket_allowed *allowed, glue_resolve *resolve)
{
    socket_allowed = allowed;
    resolve_name = resolve;
}

static bool
in_guest(wasm_module_inst_t instance, const void *start, uint64 length)
{
    return wasm_runtime_validate_native_addr(instance, (void *)start, length);
}

static struct fd_table *
descriptors(wasm_module_inst_t instance)
{
    WASIContext *context = wasm_runtime_get_wasi_ctx(instance);
    return context ? context->curfds : NULL;
}

/* False for a kind that is neither of IPv4 and IPv6. */
static bool
address_from_guest(const __wasi_addr_t *from, address *to, socklen_t *length)
{
    memset(to, 0, sizeof(*to));
    if (from->kind == IPv4) {
        to->v4.sin_family = AF_INET;
        to->v4.sin_port = htons(from->addr.ip4.port);
        memcpy(&to->v4.sin_addr, &from->addr.ip4.addr, 4);
        *length = sizeof(to->v4);
        return true;
    }
    if (from->kind == IPv6) {
        const uint16 *words = &from->addr.ip6.addr.n0;
        to->v6.sin6_family = AF_INET6;
        to->v6.sin6_port = htons(from->addr.ip6.port);
        for (int i = 0; i < 8; i++) {
            to->v6.sin6_addr.s6_addr[2 * i] = (uint8)(words[i] >> 8);
            to->v6.sin6_addr.s6_addr[2 * i + 1] = (uint8)words[i];
        }
        *length = sizeof(to->v6);
        return true;
    }
    return false;
}

/* All zeroes, which is 0.0.0.0:0, for what has no address. */
static void
address_to_guest(const address *from, __wasi_addr_t *to)
{
    memset(to, 0, sizeof(*to));
    if (from->any.sa_family == AF_INET) {
        to->kind = IPv4;
        to->addr.ip4.port = ntohs(from->v4.sin_port);
        memcpy(&to->addr.ip4.addr, &from->v4.sin_addr, 4);
    }
    else if (from->any.sa_family == AF_INET6) {
        uint16 *words = &to->addr.ip6.addr.n0;
        to->kind = IPv6;
        to->addr.ip6.port = ntohs(from->v6.sin6_port);
        for (int i = 0; i < 8; i++)
            words[i] = (uint16)(from->v6.sin6_addr.s6_addr[2 * i] << 8 | from->v6.sin6_addr.s6_addr[2 * i + 1]);
    }
}

static bool
allowed(glue_socket_use use, const address *address)
{
    if (!socket_allowed)
        return false;
    if (address->any.sa_family == AF_INET)
        return socket_allowed(use, (const uint8 *)&address->v4.sin_addr, 4, ntohs(address->v4.sin_port));
    return socket_allowed(use, address->v6.sin6_addr.s6_addr, 16, ntohs(address->v6.sin6_port));
}

/* Buffers of the guest as the kernel wants them: in `few` or, if there are more, in memory to be freed. */
static __wasi_errno_t
take_buffers(wasm_module_inst_t instance, const guest_buffer *from, uint32 count, struct iovec few[FEW_BUFFERS],
             struct iovec **buffers)
{
    if (!in_guest(instance, from, (uint64)count * sizeof(*from)))
        return __WASI_EFAULT;
    if (count > MOST_BUFFERS)
        return __WASI_EINVAL;
    *buffers = count <= FEW_BUFFERS ? few : wasm_runtime_malloc(count * (uint32)sizeof(struct iovec));
    if (!*buffers)
        return __WASI_ENOMEM;
    for (uint32 i = 0; i < count; i++) {
        guest_buffer buffer = from[i];
        if (!wasm_runtime_validate_app_addr(instance, buffer.start, buffer.length)) {
            if (*buffers != few)
                wasm_runtime_free(*buffers);
            return __WASI_EFAULT;
        }
        (*buffers)[i].iov_base = wasm_runtime_addr_app_to_native(instance, buffer.start);
        (*buffers)[i].iov_len = buffer.length;
    }
    return 0;
}

/* recvmsg or sendmsg on a descriptor of the guest. */
static __wasi_errno_t
transfer(wasm_exec_env_t exec_env, bool sends, __wasi_fd_t fd, const guest_buffer *data, uint32 count,
         struct msghdr *message, int flags, uint32 *transferred)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    struct fd_table *table = descriptors(instance);
    struct iovec few[FEW_BUFFERS];
    glue_descriptor descriptor;
    __wasi_errno_t error;
    ssize_t length = -1;

    if (!table)
        return __WASI_EBADF;
    if (!in_guest(instance, transferred, sizeof(*transferred)))
        return __WASI_EFAULT;
    error = take_buffers(instance, data, count, few, &message->msg_iov);
    if (error)
        return error;
    message->msg_iovlen = count;
    warm_refuse("it used a socket%s", "");
    error = glue_descriptor_get(table, fd, sends ? __WASI_RIGHT_FD_WRITE : __WASI_RIGHT_FD_READ, &descriptor);
    if (!error) {
        errno = EINTR;
        if (wasm_runtime_begin_blocking_op(exec_env)) {
            length = sends ? sendmsg(descriptor.host_fd, message, flags | MSG_NOSIGNAL)
                           : recvmsg(descriptor.host_fd, message, flags);
            wasm_runtime_end_blocking_op(exec_env);
        }
        error = length < 0 ? convert_errno(errno) : 0;
        glue_descriptor_release(exec_env, &descriptor);
    }
    if (message->msg_iov != few)
        wasm_runtime_free(message->msg_iov);
    if (!error)
        *transferred = (uint32)length;
    return error;
}

static __wasi_errno_t
receive(wasm_exec_env_t exec_env, __wasi_fd_t fd, const guest_buffer *data, uint32 count, uint32 flags,
        struct msghdr *message, uint32 *received)
{
    if (flags & ~(uint32)(__WASI_SOCK_RECV_PEEK | __WASI_SOCK_RECV_WAITALL))
        return __WASI_EINVAL;
    return transfer(exec_env, false, fd, data, count, message,
                    (flags & __WASI_SOCK_RECV_PEEK ? MSG_PEEK : 0)
                        | (flags & __WASI_SOCK_RECV_WAITALL ? MSG_WAITALL : 0),
                    received);
}

static __wasi_errno_t
sock_recv(wasm_exec_env_t exec_env, __wasi_fd_t fd, const guest_buffer *data, uint32 count, uint32 flags,
          uint32 *received, __wasi_roflags_t *told)
{
    struct msghdr message = { 0 };
    __wasi_errno_t error;

    if (!in_guest(get_module_inst(exec_env), told, sizeof(*told)))
        return __WASI_EFAULT;
    error = receive(exec_env, fd, data, count, flags, &message, received);
    if (!error)
        *told = message.msg_flags & MSG_TRUNC ? __WASI_SOCK_RECV_DATA_TRUNCATED : 0;
    return error;
}

static __wasi_errno_t
sock_recv_from(wasm_exec_env_t exec_env, __wasi_fd_t fd, const guest_buffer *data, uint32 count, uint32 flags,
               __wasi_addr_t *source, uint32 *received)
{
    address from = { 0 };
    struct msghdr message = { .msg_name = &from, .msg_namelen = sizeof(from) };
    __wasi_errno_t error;

    if (!in_guest(get_module_inst(exec_env), source, sizeof(*source)))
        return __WASI_EFAULT;
    error = receive(exec_env, fd, data, count, flags, &message, received);
    if (!error)
        address_to_guest(&from, source);
    return error;
}

static __wasi_errno_t
sock_send(wasm_exec_env_t exec_env, __wasi_fd_t fd, const guest_buffer *data, uint32 count, uint32 flags,
          uint32 *sent)
{
    struct msghdr message = { 0 };

    return flags ? __WASI_EINVAL : transfer(exec_env, true, fd, data, count, &message, 0, sent);
}

static __wasi_errno_t
sock_send_to(wasm_exec_env_t exec_env, __wasi_fd_t fd, const guest_buffer *data, uint32 count, uint32 flags,
             const __wasi_addr_t *destination, uint32 *sent)
{
    address to;
    struct msghdr message = { .msg_name = &to };

    if (!in_guest(get_module_inst(exec_env), destination, sizeof(*destination)))
        return __WASI_EFAULT;
    if (flags)
        return __WASI_EINVAL;
    if (!address_from_guest(destination, &to, &message.msg_namelen))
        return __WASI_EAFNOSUPPORT;
    if (!allowed(GLUE_SOCKET_CONNECT, &to))
        return __WASI_EACCES;
    return transfer(exec_env, true, fd, data, count, &message, 0, sent);
}

static __wasi_errno_t
sock_accept(wasm_exec_env_t exec_env, __wasi_fd_t fd, uint32 flags, __wasi_fd_t *accepted)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    struct fd_table *table = descriptors(instance);
    glue_descriptor descriptor;
    __wasi_fd_t added;
    __wasi_errno_t error;
    int socket = -1;

    if (!table)
        return __WASI_EBADF;
    if (!in_guest(instance, accepted, sizeof(*accepted)))
        return __WASI_EFAULT;
    if (flags & ~(uint32)__WASI_FDFLAG_NONBLOCK)
        return __WASI_EINVAL;
    error = glue_descriptor_get(table, fd, __WASI_RIGHT_SOCK_ACCEPT, &descriptor);
    if (error)
        return error;
    if (warm_on_its_way() && !(fcntl(descriptor.host_fd, F_GETFL) & O_NONBLOCK)) {
        /* Where it runs nobody connects. */
        glue_descriptor_release(exec_env, &descriptor);
        wasm_runtime_set_exception(instance, "it waits for a connection");
        return __WASI_EINTR;
    }
    errno = EINTR;
    if (wasm_runtime_begin_blocking_op(exec_env)) {
        socket = accept4(descriptor.host_fd, NULL, NULL, SOCK_CLOEXEC | (flags ? SOCK_NONBLOCK : 0));
        wasm_runtime_end_blocking_op(exec_env);
    }
    error = socket < 0 ? convert_errno(errno) : 0;
    glue_descriptor_release(exec_env, &descriptor);
    if (!error)
        error = glue_descriptor_add_socket(exec_env, table, socket, true, &added);
    if (!error)
        *accepted = added;
    return error;
}

static __wasi_errno_t
sock_shutdown(wasm_exec_env_t exec_env, __wasi_fd_t fd, uint32 how)
{
    static const int directions[] = {
        [__WASI_SHUT_RD] = SHUT_RD,
        [__WASI_SHUT_WR] = SHUT_WR,
        [__WASI_SHUT_RD | __WASI_SHUT_WR] = SHUT_RDWR,
    };
    struct fd_table *table = descriptors(get_module_inst(exec_env));
    glue_descriptor descriptor;
    __wasi_errno_t error;

    if (!table)
        return __WASI_EBADF;
    if (how < __WASI_SHUT_RD || how > (__WASI_SHUT_RD | __WASI_SHUT_WR))
        return __WASI_EINVAL;
    error = glue_descriptor_get(table, fd, 0, &descriptor);
    if (error)
        return error;
    warm_refuse("it used a socket%s", "");
    error = shutdown(descriptor.host_fd, directions[how]) < 0 ? convert_errno(errno) : 0;
    glue_descriptor_release(exec_env, &descriptor);
    return error;
}

static __wasi_errno_t
sock_open(wasm_exec_env_t exec_env, __wasi_fd_t pool, __wasi_address_family_t family, __wasi_sock_type_t type,
          __wasi_fd_t *opened)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    struct fd_table *table = descriptors(instance);
    __wasi_fd_t added;
    __wasi_errno_t error;
    int fd;

    (void)pool;
    if (!table)
        return __WASI_EBADF;
    if (!in_guest(instance, opened, sizeof(*opened)))
        return __WASI_EFAULT;
    if (family != INET4 && family != INET6)
        return __WASI_EAFNOSUPPORT;
    if (type != SOCKET_STREAM && type != SOCKET_DGRAM)
        return __WASI_EPROTONOSUPPORT;
    warm_refuse("it opened a socket%s", "");
    fd = socket(family == INET4 ? AF_INET : AF_INET6,
                (type == SOCKET_STREAM ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return convert_errno(errno);
    error = glue_descriptor_add_socket(exec_env, table, fd, type == SOCKET_STREAM, &added);
    if (!error)
        *opened = added;
    return error;
}

/* bind or connect. */
static __wasi_errno_t
set_address(wasm_exec_env_t exec_env, glue_socket_use use, __wasi_fd_t fd, const __wasi_addr_t *guest_address)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    struct fd_table *table = descriptors(instance);
    glue_descriptor descriptor;
    socklen_t length;
    __wasi_errno_t error;
    address address;
    int result = -1;

    if (!table)
        return __WASI_EBADF;
    if (!in_guest(instance, guest_address, sizeof(*guest_address)))
        return __WASI_EFAULT;
    if (!address_from_guest(guest_address, &address, &length))
        return __WASI_EAFNOSUPPORT;
    warm_refuse("it used a socket%s", "");
    if (!allowed(use, &address))
        return __WASI_EACCES;
    error = glue_descriptor_get(
        table, fd, use == GLUE_SOCKET_BIND ? __WASI_RIGHT_SOCK_BIND : __WASI_RIGHT_SOCK_CONNECT, &descriptor);
    if (error)
        return error;
    errno = EINTR;
    if (use == GLUE_SOCKET_BIND) {
        /* Connections of a predecessor that are still being wound up do not keep the port from its successor. */
        int on = 1, type = 0;
        socklen_t size = sizeof(type);
        if (getsockopt(descriptor.host_fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM)
            setsockopt(descriptor.host_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        result = bind(descriptor.host_fd, &address.any, length);
    }
    else if (wasm_runtime_begin_blocking_op(exec_env)) {
        result = connect(descriptor.host_fd, &address.any, length);
        wasm_runtime_end_blocking_op(exec_env);
    }
    error = result < 0 ? convert_errno(errno) : 0;
    glue_descriptor_release(exec_env, &descriptor);
    return error;
}

static __wasi_errno_t
sock_bind(wasm_exec_env_t exec_env, __wasi_fd_t fd, const __wasi_addr_t *address)
{
    return set_address(exec_env, GLUE_SOCKET_BIND, fd, address);
}

static __wasi_errno_t
sock_connect(wasm_exec_env_t exec_env, __wasi_fd_t fd, const __wasi_addr_t *address)
{
    return set_address(exec_env, GLUE_SOCKET_CONNECT, fd, address);
}

/* A socket that was never bound listens on all addresses and a port of the kernel's choice: that needs leave too. */
static __wasi_errno_t
sock_listen(wasm_exec_env_t exec_env, __wasi_fd_t fd, uint32 backlog)
{
    struct fd_table *table = descriptors(get_module_inst(exec_env));
    glue_descriptor descriptor;
    __wasi_errno_t error;
    address bound = { 0 };
    socklen_t length = sizeof(bound);

    if (!table)
        return __WASI_EBADF;
    warm_refuse("it used a socket%s", "");
    error = glue_descriptor_get(table, fd, __WASI_RIGHT_SOCK_LISTEN, &descriptor);
    if (error)
        return error;
    if (getsockname(descriptor.host_fd, &bound.any, &length) < 0)
        error = convert_errno(errno);
    else if (!allowed(GLUE_SOCKET_BIND, &bound))
        error = __WASI_EACCES;
    else if (listen(descriptor.host_fd, backlog > INT32_MAX ? INT32_MAX : (int)backlog) < 0)
        error = convert_errno(errno);
    glue_descriptor_release(exec_env, &descriptor);
    return error;
}

static bool
is_stopped(void *exec_env)
{
    return wasm_cluster_is_thread_terminated(exec_env);
}

/* A copy, which no other thread of the guest can change. False when it does not fit. */
static bool
copy_text(const char *from, char *to, size_t room)
{
    for (size_t i = 0; i < room; i++)
        if (!(to[i] = from[i]))
            return true;
    return false;
}

static void
name_to_guest(const glue_name_address *from, bool stream, int32 port, __wasi_addr_info_t *to)
{
    address address = { 0 };

    if (from->length == 4) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons((uint16)port);
        memcpy(&address.v4.sin_addr, from->bytes, 4);
    }
    else {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons((uint16)port);
        memcpy(&address.v6.sin6_addr, from->bytes, 16);
    }
    address_to_guest(&address, &to->addr);
    to->type = stream ? SOCKET_STREAM : SOCKET_DGRAM;
}

/* Fills in as many addresses as there is room for; `count` is how many there are. None: the name does not exist. */
static __wasi_errno_t
sock_addr_resolve(wasm_exec_env_t exec_env, const char *host, const char *service,
                  const __wasi_addr_info_hints_t *hints, __wasi_addr_info_t *info, uint32 room, uint32 *count)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    glue_names names = { 0 };
    /* A name has at most 253 characters, and a dot behind them; services are short words. */
    char host_copy[256], service_copy[64];
    glue_family family = GLUE_FAMILY_ANY;
    __wasi_sock_type_t type = SOCKET_ANY;
    uint32 all = 0;
    int error = EINTR;

    if (!in_guest(instance, hints, sizeof(*hints)) || !in_guest(instance, count, sizeof(*count))
        || !in_guest(instance, info, (uint64)room * sizeof(*info)))
        return __WASI_EFAULT;
    warm_refuse("it looked up a name%s", "");
    if (!resolve_name)
        return __WASI_EACCES;
    if (hints->hints_enabled) {
        type = hints->type;
        family = hints->family == INET4   ? GLUE_FAMILY_V4
                 : hints->family == INET6 ? GLUE_FAMILY_V6
                                          : GLUE_FAMILY_ANY;
    }
    if (!copy_text(service, service_copy, sizeof(service_copy)))
        return __WASI_EINVAL;
    if (!copy_text(host, host_copy, sizeof(host_copy))) {
        *count = 0;
        return 0;
    }
    if (wasm_runtime_begin_blocking_op(exec_env)) {
        error = resolve_name(host_copy, service_copy, family, is_stopped, exec_env, &names);
        wasm_runtime_end_blocking_op(exec_env);
    }
    if (error)
        return convert_errno(error);
    for (uint32 i = 0; i < names.count; i++) {
        if (type != SOCKET_DGRAM && names.tcp_port >= 0 && all++ < room)
            name_to_guest(&names.addresses[i], true, names.tcp_port, &info[all - 1]);
        if (type != SOCKET_STREAM && names.udp_port >= 0 && all++ < room)
            name_to_guest(&names.addresses[i], false, names.udp_port, &info[all - 1]);
    }
    *count = all;
    return 0;
}

/* WAMR writes eight bytes where the guest has room for four. */
static __wasi_errno_t
buffer_size(wasm_exec_env_t exec_env, int option, __wasi_fd_t fd, uint32 *size)
{
    wasm_module_inst_t instance = get_module_inst(exec_env);
    struct fd_table *table = descriptors(instance);
    glue_descriptor descriptor;
    __wasi_errno_t error;
    int bytes = 0;
    socklen_t length = sizeof(bytes);

    if (!table)
        return __WASI_EBADF;
    if (!in_guest(instance, size, sizeof(*size)))
        return __WASI_EFAULT;
    error = glue_descriptor_get(table, fd, 0, &descriptor);
    if (error)
        return error;
    if (getsockopt(descriptor.host_fd, SOL_SOCKET, option, &bytes, &length) < 0)
        error = convert_errno(errno);
    else
        *size = (uint32)bytes;
    glue_descriptor_release(exec_env, &descriptor);
    return error;
}

static __wasi_errno_t
sock_get_recv_buf_size(wasm_exec_env_t exec_env, __wasi_fd_t fd, uint32 *size)
{
    return buffer_size(exec_env, SO_RCVBUF, fd, size);
}

static __wasi_errno_t
sock_get_send_buf_size(wasm_exec_env_t exec_env, __wasi_fd_t fd, uint32 *size)
{
    return buffer_size(exec_env, SO_SNDBUF, fd, size);
}

static NativeSymbol replaced[] = {
    { "sock_accept", sock_accept, "(ii*)i", NULL },
    { "sock_addr_resolve", sock_addr_resolve, "($$**i*)i", NULL },
    { "sock_bind", sock_bind, "(i*)i", NULL },
    { "sock_connect", sock_connect, "(i*)i", NULL },
    { "sock_get_recv_buf_size", sock_get_recv_buf_size, "(i*)i", NULL },
    { "sock_get_send_buf_size", sock_get_send_buf_size, "(i*)i", NULL },
    { "sock_listen", sock_listen, "(ii)i", NULL },
    { "sock_open", sock_open, "(iii*)i", NULL },
    { "sock_recv", sock_recv, "(i*ii**)i", NULL },
    { "sock_recv_from", sock_recv_from, "(i*ii**)i", NULL },
    { "sock_send", sock_send, "(i*ii*)i", NULL },
    { "sock_send_to", sock_send_to, "(i*ii**)i", NULL },
    { "sock_shutdown", sock_shutdown, "(ii)i", NULL },
};

bool
glue_sockets_register(void)
{
    uint32 count = sizeof(replaced) / sizeof(replaced[0]);
    return wasm_runtime_register_natives("wasi_snapshot_preview1", replaced, count);
}
