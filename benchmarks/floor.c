/* The least that a responder behind usbredir can do: one file, given from mapped memory with one write for each
   transfer, and uploads written as they come, one write for each block. It checks nothing, and knows of MTP what libmtp
  needs to open a device, to get its one file and to put another. Usage: floor WHERE FILE SINK */
#include "usbredir.h"
#include "canned.h"
#include <sys/mman.h>
#include <sys/stat.h>

static int guest;
static const char *file;
static size_t file_size;

static char reply[512 + 64];          /* a data phase or response that is not the file's */
static size_t reply_at, reply_end;
static size_t sent, to_send;          /* of the file's data phase, header included */
static uint64_t waiting[256];         /* transfers that have nothing to take yet */
static uint32_t lengths[256];
static int first, count;
static uint32_t transaction;

static void complete(uint64_t id, uint8_t endpoint, const void *data, size_t size, uint32_t length) {
    struct bulk bulk = { endpoint, 0, length, 0, length >> 16 };
    send_packet(guest, BULK, id, &bulk, sizeof bulk, data, size);
}

static void complete_file(uint64_t id, uint32_t length) {
    struct container head = { file_size + 12, DATA, GET_OBJECT, transaction };
    size_t size = to_send - sent < length ? to_send - sent : length;
    if (sent) complete(id, EP_IN, file + sent - 12, size, size);
    else {
        struct bulk bulk = { EP_IN, 0, size, 0, size >> 16 };
        struct header header = { BULK, sizeof bulk + size, id };
        struct iovec parts[4] = { { &header, sizeof header }, { &bulk, sizeof bulk }, { &head, 12 },
                                  { (void *)file, size - 12 } };
        write_parts(guest, parts, 4);
    }
    sent += size;
    if (sent == to_send && size == length && size % 512 == 0) return; /* a zero-length packet is due: sent == to_send */
    if (sent == to_send) sent = to_send = 0;
}

static void serve(void) {
    while (count) {
        uint64_t id = waiting[first];
        uint32_t length = lengths[first];
        if (to_send && sent == to_send) { sent = to_send = 0; complete(id, EP_IN, NULL, 0, 0); }
        else if (to_send) complete_file(id, length);
        else if (reply_at < reply_end) {
            size_t end = *(uint32_t *)(reply + reply_at);
            size_t size = end < length ? end : length;
            complete(id, EP_IN, reply + reply_at, size, size);
            reply_at += size;
        } else return;
        first = (first + 1) % 256, count--;
    }
    if (reply_at == reply_end && !to_send) reply_at = reply_end = 0;
}

static void queue(uint16_t type, uint16_t code, const void *content, size_t size) {
    struct container *at = (struct container *)(reply + reply_end);
    *at = (struct container){ 12 + size, type, code, transaction };
    if (size) memcpy((char *)at + 12, content, size);
    reply_end += at->length;
}

static void queue_data(uint16_t code, struct bytes content) { queue(DATA, code, content.data, content.size); }

/* What is not a bulk transfer. */
static void manage(const struct header *header, char *data) {
    uint8_t answer[3] = { 0, data[0], 0 };
    switch (header->type) {
    case SET_CONFIGURATION: send_packet(guest, CONFIGURATION_STATUS, header->id, answer, 2, NULL, 0); break;
    case SET_ALT_SETTING:
    case GET_ALT_SETTING: send_packet(guest, ALT_SETTING_STATUS, header->id, answer, 3, NULL, 0); break;
    case START_INTERRUPT: send_packet(guest, INTERRUPT_STATUS, header->id, answer, 2, NULL, 0); break;
    case CONTROL: {
        struct control *request = (struct control *)data;
        struct bytes content = control_data(request);
        request->status = content.data || !(request->endpoint & 0x80) ? 0 : STALL;
        request->length = content.size < request->length ? content.size : request->length;
        send_packet(guest, CONTROL, header->id, request, sizeof *request, content.data, request->length);
        break;
    }
    case CANCEL:
        for (int i = 0; i < count; i++) {
            if (waiting[(first + i) % 256] != header->id) continue;
            struct bulk bulk = { EP_IN, CANCELLED };
            send_packet(guest, BULK, header->id, &bulk, sizeof bulk, NULL, 0);
            for (count--; i < count; i++) {
                waiting[(first + i) % 256] = waiting[(first + i + 1) % 256];
                lengths[(first + i) % 256] = lengths[(first + i + 1) % 256];
            }
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int source = open(argv[2], O_RDONLY), sink = -1, listener = make_socket(argv[1], 1), one = 1;
    struct stat status;
    if (source < 0 || fstat(source, &status)) die(argv[2]);
    file_size = status.st_size;
    file = mmap(NULL, file_size, PROT_READ, MAP_SHARED | MAP_POPULATE, source, 0);
    puts("ready"), fflush(stdout);
    static char data[4 << 20];
    for (;;) {
        guest = accept(listener, NULL, NULL);
        setsockopt(guest, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        first = count = 0, reply_at = reply_end = sent = to_send = 0;
        send_hello(guest), take_hello(guest);
        announce(guest);
        size_t expected = 0; /* bytes of an upload's data phase still to come */
        int uploading = 0;
        struct header header;
        while (read(guest, &header, sizeof header) == sizeof header) {
            read_all(guest, data, header.length);
            struct bulk *bulk = (struct bulk *)data;
            if (header.type != BULK) {
                manage(&header, data);
                continue;
            }
            uint32_t length = bulk->length | (uint32_t)bulk->length_high << 16;
            if (bulk->endpoint == EP_IN) {
                int slot = (first + count++) % 256;
                waiting[slot] = header.id, lengths[slot] = length;
                serve();
                continue;
            }
            char *body = data + sizeof *bulk;
            if (uploading) {
                size_t skip = expected ? 0 : 12;
                if (skip) expected = *(uint32_t *)body;
                if (write(sink, body + skip, length - skip) < 0) die("write");
                expected -= length;
                if (!expected) {
                    uploading = 0, close(sink);
                    queue(RESPONSE, OK, NULL, 0);
                }
                complete(header.id, EP_OUT, NULL, 0, length);
                serve();
                continue;
            }
            complete(header.id, EP_OUT, NULL, 0, length);
            if (!length) continue; /* the end of an upload that filled its last packet */
            struct container *command = (struct container *)body;
            if (command->type == DATA) { /* the ObjectInfo */
                queue(RESPONSE, OK, (uint32_t[]){ 0x10001, 0xffffffff, 2 }, 12);
                serve();
                continue;
            }
            transaction = command->transaction;
            switch (command->code) {
            case GET_DEVICE_INFO: queue_data(command->code, device_info()); break;
            case GET_STORAGE_IDS: queue(DATA, command->code, (uint32_t[]){ 1, 0x10001 }, 8); break;
            case GET_STORAGE_INFO: queue_data(command->code, storage_info()); break;
            case GET_OBJECT_HANDLES: queue(DATA, command->code, (uint32_t[]){ 1, 1 }, 8); break;
            case GET_OBJECT_INFO: queue_data(command->code, object_info(file_size)); break;
            case GET_OBJECT: sent = 0, to_send = file_size + 12; break;
            case SEND_OBJECT:
                uploading = 1, expected = 0;
                sink = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0600);
            }
            if (command->code != SEND_OBJECT_INFO && command->code != SEND_OBJECT) queue(RESPONSE, OK, NULL, 0);
            serve();
        }
        close(guest);
    }
}
