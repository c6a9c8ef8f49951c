/* What the floor says of itself: to usbredir, to USB and to MTP. One storage with one file, at high speed, by the ids of
   QEMU's usb-mtp, as our server has them. */
#pragma once
#include "usbredir.h"

struct bytes { const void *data; size_t size; };

#define U16(value) (value) & 0xff, (value) >> 8

enum { VENDOR = 0x46f4, PRODUCT = 0x0004, HIGH_SPEED = 2, BULK_TYPE = 2, INTERRUPT_TYPE = 3, NO_ENDPOINT = 255 };
enum { MAX_PACKET = 512, INTERRUPT_PACKET = 28, INTERVAL = 6 };

/* ep_info, interface_info, device_connect, in this order. */
static void announce(int guest) {
    static const struct { uint8_t address, type, interval; uint16_t size; } endpoints[] = {
        { EP_IN, BULK_TYPE, 0, MAX_PACKET }, { EP_OUT, BULK_TYPE, 0, MAX_PACKET },
        { EP_INTERRUPT, INTERRUPT_TYPE, INTERVAL, INTERRUPT_PACKET },
    };
    struct __attribute__((packed)) { uint8_t type[32], interval[32], interface[32]; uint16_t size[32]; } info = { 0 };
    memset(info.type, NO_ENDPOINT, sizeof info.type);
    info.type[0] = info.type[16] = 0; /* control */
    for (int i = 0; i < 3; i++) {
        int at = (endpoints[i].address & 0x80) >> 3 | (endpoints[i].address & 15);
        info.type[at] = endpoints[i].type, info.interval[at] = endpoints[i].interval, info.size[at] = endpoints[i].size;
    }
    send_packet(guest, EP_INFO, 0, &info, sizeof info, NULL, 0);
    struct __attribute__((packed)) { uint32_t count; uint8_t number[32], class[32], subclass[32], protocol[32]; }
        interfaces = { 1, { 0 }, { 6 }, { 1 }, { 1 } };
    send_packet(guest, INTERFACE_INFO, 0, &interfaces, sizeof interfaces, NULL, 0);
    uint8_t connect[10] = { HIGH_SPEED, 0, 0, 0, U16(VENDOR), U16(PRODUCT), U16(0x100) };
    send_packet(guest, DEVICE_CONNECT, 0, connect, sizeof connect, NULL, 0);
}

/* What a standard request reads: GET_STATUS and GET_DESCRIPTOR. */
static struct bytes control_data(const struct control *request) {
    static const uint8_t device[] = { 18, 1, U16(0x200), 0, 0, 0, 64, U16(VENDOR), U16(PRODUCT), U16(0x100), 1, 2, 3, 1 };
    static const uint8_t configuration[] = {
        9, 2, U16(39), 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 3, 6, 1, 1, 4,
        7, 5, EP_IN, BULK_TYPE, U16(MAX_PACKET), 0, 7, 5, EP_OUT, BULK_TYPE, U16(MAX_PACKET), 0,
        7, 5, EP_INTERRUPT, INTERRUPT_TYPE, U16(INTERRUPT_PACKET), INTERVAL,
    };
    static const uint8_t languages[] = { 4, 3, U16(0x409) }, name[] = { 8, 3, U16('M'), U16('T'), U16('P') };
    static const uint8_t status[] = { 0, 0 };
    if (request->type >= 0x80 && request->request == 0) return (struct bytes){ status, sizeof status };
    if (request->type != 0x80 || request->request != 6) return (struct bytes){ NULL, 0 };
    switch (request->value) {
    case 0x100: return (struct bytes){ device, sizeof device };
    case 0x200: return (struct bytes){ configuration, sizeof configuration };
    case 0x300: return (struct bytes){ languages, sizeof languages };
    case 0x301: case 0x302: case 0x303: case 0x304: return (struct bytes){ name, sizeof name };
    }
    return (struct bytes){ NULL, 0 };
}

#define U32(value) U16((value) & 0xffff), U16((uint32_t)(value) >> 16)
#define NAME 5, 'f', 0, 'i', 0, 'l', 0, 'e', 0, 0, 0

/* MTP 1.1, 5.1.1: the operations of the benchmark, no events, no properties, no formats. */
static struct bytes device_info(void) {
    static const uint8_t data[] = {
        U16(100), U32(6), U16(100), 0, U16(0),
        U32(10), U16(GET_DEVICE_INFO), U16(OPEN_SESSION), U16(CLOSE_SESSION), U16(GET_STORAGE_IDS),
        U16(GET_STORAGE_INFO), U16(GET_OBJECT_HANDLES), U16(GET_OBJECT_INFO), U16(GET_OBJECT), U16(SEND_OBJECT_INFO),
        U16(SEND_OBJECT), U32(0), U32(0), U32(0), U32(0), NAME, NAME, NAME, NAME,
    };
    return (struct bytes){ data, sizeof data };
}

/* 5.2.2: fixed, hierarchical, read-write, 1 TiB of which all is free. */
static struct bytes storage_info(void) {
    static const uint8_t data[] = {
        U16(3), U16(2), U16(0), U32(0), U32(256), U32(0), U32(256), U32(0xffffffff), NAME, 0,
    };
    return (struct bytes){ data, sizeof data };
}

/* 5.3.1: a file in the root, of no known format. */
static struct bytes object_info(uint32_t size) {
    static uint8_t data[] = {
        U32(0x10001), U16(0x3000), U16(0), U32(0), U16(0x3000), U32(0), U32(0), U32(0), U32(0), U32(0), U32(0), U32(0),
        U16(0), U32(0), U32(0), NAME, 0, 0, 0,
    };
    memcpy(data + 8, &size, sizeof size);
    return (struct bytes){ data, sizeof data };
}
