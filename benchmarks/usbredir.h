/* What both ends of the benchmark share: usbredir's wire format with 64-bit ids and 32-bit bulk lengths
   (protocol 0.7), MTP containers, and sockets. Little-endian machines only. */
#pragma once
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { HELLO, DEVICE_CONNECT, DEVICE_DISCONNECT, RESET, INTERFACE_INFO, EP_INFO, SET_CONFIGURATION,
       CONFIGURATION_STATUS = 8, SET_ALT_SETTING, GET_ALT_SETTING, ALT_SETTING_STATUS, START_INTERRUPT = 15,
       INTERRUPT_STATUS = 17, CANCEL = 21, CONTROL = 100, BULK = 101 };
enum { CANCELLED = 1, STALL = 4 };
enum { CAPS = 0x7e, EP_IN = 0x81, EP_OUT = 0x02, EP_INTERRUPT = 0x83 };
enum { COMMAND = 1, DATA = 2, RESPONSE = 3 };
enum { GET_DEVICE_INFO = 0x1001, OPEN_SESSION, CLOSE_SESSION, GET_STORAGE_IDS, GET_STORAGE_INFO,
       GET_OBJECT_HANDLES = 0x1007, GET_OBJECT_INFO, GET_OBJECT, DELETE_OBJECT = 0x100b,
       SEND_OBJECT_INFO = 0x100c, SEND_OBJECT = 0x100d, OK = 0x2001 };

struct __attribute__((packed)) header { uint32_t type, length; uint64_t id; };
struct __attribute__((packed)) hello { char version[64]; uint32_t caps; };
struct __attribute__((packed)) bulk { uint8_t endpoint, status; uint16_t length; uint32_t stream; uint16_t length_high; };
struct __attribute__((packed)) control {
    uint8_t endpoint, request, type, status;
    uint16_t value, index, length;
};
struct __attribute__((packed)) container { uint32_t length; uint16_t type, code; uint32_t transaction, parameters[5]; };

static void die(const char *what) { perror(what); exit(1); }

static void read_all(int fd, void *to, size_t size) {
    for (char *at = to; size;) {
        ssize_t got = read(fd, at, size);
        if (got <= 0) die("read");
        at += got, size -= got;
    }
}

static void write_parts(int fd, struct iovec *parts, int count) {
    while (count) {
        ssize_t done = writev(fd, parts, count);
        if (done < 0) die("write");
        while (count && (size_t)done >= parts->iov_len) done -= parts->iov_len, parts++, count--;
        if (count) parts->iov_base = (char *)parts->iov_base + done, parts->iov_len -= done;
    }
}

static void send_packet(int fd, uint32_t type, uint64_t id, const void *head, size_t head_size, const void *data,
                        size_t size) {
    struct header header = { type, head_size + size, id };
    struct iovec parts[3] = { { &header, sizeof header }, { (void *)head, head_size }, { (void *)data, size } };
    write_parts(fd, parts, size ? 3 : 2);
}

static void send_hello(int fd) {
    struct hello hello = { "benchmark", CAPS };
    uint32_t head[3] = { HELLO, sizeof hello, 0 };
    struct iovec parts[2] = { { head, sizeof head }, { &hello, sizeof hello } };
    write_parts(fd, parts, 2);
}

static void take_hello(int fd) {
    uint32_t head[3];
    char rest[256];
    read_all(fd, head, sizeof head);
    if (head[0] != HELLO || head[1] > sizeof rest) exit(2);
    read_all(fd, rest, head[1]);
}

/* "PORT" on 127.0.0.1, or the path of a unix socket. */
static int make_socket(const char *where, int listening) {
    struct sockaddr_in tcp = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    int is_local = strchr(where, '/') != NULL, one = 1;
    int fd = socket(is_local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    struct sockaddr *address = is_local ? (struct sockaddr *)&local : (struct sockaddr *)&tcp;
    socklen_t size = is_local ? sizeof local : sizeof tcp;
    if (is_local) strncpy(local.sun_path, where, sizeof local.sun_path - 1);
    else tcp.sin_port = htons(atoi(where));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (listening ? bind(fd, address, size) || listen(fd, 1) : connect(fd, address, size)) die(where);
    if (!is_local && !listening) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}
