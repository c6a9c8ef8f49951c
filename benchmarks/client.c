/* The guest's side for benchmarks: gets or puts one file with transfers of one size, some of them in flight, and prints
   what it cost. Usage: client WHERE get|put TRANSFER DEPTH [BYTES-TO-PUT] */
#include "usbredir.h"

enum { MOST = 4 << 20 };
static int server;
static uint64_t id = 1;
static uint32_t transaction;
static char data[MOST + 64];

static void submit_in(uint32_t length) {
    struct bulk bulk = { EP_IN, 0, length, 0, length >> 16 };
    send_packet(server, BULK, id++, &bulk, sizeof bulk, NULL, 0);
}

static void submit_out(const void *bytes, uint32_t length) {
    struct bulk bulk = { EP_OUT, 0, length, 0, length >> 16 };
    send_packet(server, BULK, id++, &bulk, sizeof bulk, bytes, length);
}

/* The next completion of an endpoint: its length; IN data is left in `data`, behind the packet's own header. */
static uint32_t take(uint8_t endpoint) {
    struct header header;
    for (;;) {
        read_all(server, &header, sizeof header);
        if (header.length > sizeof data) exit(3);
        read_all(server, data, header.length);
        struct bulk *bulk = (struct bulk *)data;
        if (header.type != BULK || bulk->endpoint != endpoint) continue;
        if (bulk->status) { fprintf(stderr, "status %d\n", bulk->status); exit(4); }
        return bulk->length | (uint32_t)bulk->length_high << 16;
    }
}

static struct container *in_data(void) { return (struct container *)(data + sizeof(struct bulk)); }

static void command(uint16_t code, int number, uint32_t a, uint32_t b, uint32_t c) {
    struct container head = { 12 + 4 * number, COMMAND, code, ++transaction, { a, b, c } };
    submit_out(&head, head.length);
    take(EP_OUT);
}

static void response(void) {
    submit_in(512);
    take(EP_IN);
    if (in_data()->type != RESPONSE || in_data()->code != OK) { fprintf(stderr, "response %x\n", in_data()->code); exit(5); }
}

static double now(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static uint64_t get(uint32_t handle, uint32_t size, int depth, uint64_t *transfers) {
    uint64_t left = 0, total = 0;
    command(GET_OBJECT, 1, handle, 0, 0);
    for (int i = 0; i < depth; i++) submit_in(size);
    for (;; ++*transfers) {
        uint32_t length = take(EP_IN);
        if (!total) left = in_data()->length;
        total += length, left -= length;
        if (length < size) break;
        submit_in(size);
    }
    /* The response takes the first transfer that is pending; the rest stay so, as a guest's would not. */
    if (depth == 1) response();
    else take(EP_IN);
    return left ? 0 : total;
}

static uint64_t put(uint64_t bytes, uint32_t size, int depth, uint64_t *transfers) {
    static char block[MOST];
    char info[128] = { 0 };
    struct container *head = (struct container *)info;
    *head = (struct container){ 12 + 52 + 1 + 2 * 4 + 3, DATA, SEND_OBJECT_INFO, 0 };
    command(SEND_OBJECT_INFO, 2, 0x10001, 0xffffffff, 0);
    head->transaction = transaction;
    *(uint16_t *)(info + 12 + 4) = 0x3000, *(uint32_t *)(info + 12 + 8) = bytes;
    info[12 + 52] = 4;
    for (int i = 0; i < 3; i++) info[12 + 53 + 2 * i] = "put"[i];
    submit_out(info, head->length), take(EP_OUT), response();
    command(SEND_OBJECT, 0, 0, 0, 0);
    *(struct container *)block = (struct container){ bytes + 12, DATA, SEND_OBJECT, transaction };
    uint64_t left = bytes + 12;
    int flying = 0;
    while (left || flying) {
        while (left && flying < depth) {
            uint32_t length = left < size ? left : size;
            submit_out(block, length);
            left -= length, flying++;
        }
        take(EP_OUT), flying--, ++*transfers;
    }
    if ((bytes + 12) % 512 == 0) submit_out(block, 0), take(EP_OUT);
    response();
    return bytes;
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    uint32_t size = atoi(argv[3]);
    int depth = atoi(argv[4]);
    uint64_t transfers = 0, total;
    uint8_t configuration = 1;
    server = make_socket(argv[1], 0);
    send_hello(server), take_hello(server);
    send_packet(server, SET_CONFIGURATION, 0, &configuration, 1, NULL, 0);
    command(OPEN_SESSION, 1, 1, 0, 0), response();
    command(GET_OBJECT_HANDLES, 3, 0xffffffff, 0, 0xffffffff);
    submit_in(512), take(EP_IN);
    uint32_t handle = in_data()->parameters[1];
    response();
    double start = now(CLOCK_MONOTONIC);
    total = strcmp(argv[2], "get") ? put(strtoull(argv[5], NULL, 10), size, depth, &transfers)
                                   : get(handle, size, depth, &transfers);
    double seconds = now(CLOCK_MONOTONIC) - start;
    if (!total) return 6;
    printf("{\"seconds\": %.6f, \"bytes\": %llu, \"transfers\": %llu}\n", seconds, (unsigned long long)total,
           (unsigned long long)transfers);
}
