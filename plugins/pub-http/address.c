/* SPDX-License-Identifier: Apache-2.0 */
/* address.c - addresses that are not of the internet: of this machine, of the network around it,
 * and those at which clouds give away credentials (169.254.169.254). */
#include "http.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

struct network {
    uint32_t address, bits;
};

static int is_private_4(uint32_t a)
{
    static const struct network networks[] = {
        {0x00000000, 8},  /* 0/8: this network */
        {0x0A000000, 8},  /* 10/8 */
        {0x64400000, 10}, /* 100.64/10: of providers; 100.100.100.200 is Alibaba's metadata */
        {0x7F000000, 8},  /* 127/8: loopback */
        {0xA9FE0000, 16}, /* 169.254/16: link-local, metadata */
        {0xAC100000, 12}, /* 172.16/12 */
        {0xC0000000, 24}, /* 192.0.0/24: protocol assignments; Oracle's metadata */
        {0xC0000200, 24}, /* 192.0.2/24, 198.51.100/24, 203.0.113/24: documentation */
        {0xC0A80000, 16}, /* 192.168/16 */
        {0xC6120000, 15}, /* 198.18/15: benchmarks */
        {0xC6336400, 24}, {0xCB007100, 24},
        {0xE0000000, 3}, /* 224/4: multicast; 240/4: reserved, broadcast */
    };
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; i++)
        if ((a ^ networks[i].address) >> (32 - networks[i].bits) == 0)
            return 1;
    return 0;
}

static uint32_t four_bytes(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Only 2000::/3 is of the internet; what embeds an address of IPv4 is as that one. */
static int is_private_6(const uint8_t b[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    static const uint8_t nat64[12] = {0, 0x64, 0xFF, 0x9B};
    if (memcmp(b, mapped, 12) == 0 || memcmp(b, nat64, 12) == 0)
        return is_private_4(four_bytes(b + 12));
    if ((b[0] & 0xE0) != 0x20)
        return 1;
    if (b[0] == 0x20 && b[1] == 0x02) /* 6to4 */
        return is_private_4(four_bytes(b + 2));
    if (b[0] == 0x20 && b[1] == 0x01 && (b[2] & 0xFE) == 0) /* 2001::/23: Teredo and the like */
        return 1;
    return b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0D && b[3] == 0xB8; /* documentation */
}

int address_is_private(const struct sockaddr *sa)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    switch (sa->sa_family) {
    case AF_INET:
        memcpy(&v4, sa, sizeof v4);
        return is_private_4(ntohl(v4.sin_addr.s_addr));
    case AF_INET6:
        memcpy(&v6, sa, sizeof v6);
        return is_private_6(v6.sin6_addr.s6_addr);
    default:
        return 1;
    }
}

int address_text_is_private(const char *text)
{
    struct in_addr v4;
    struct in6_addr v6;
    /* inet_aton: libc's resolver takes 127.1 and 0x7f000001, too. */
    if (inet_aton(text, &v4))
        return is_private_4(ntohl(v4.s_addr));
    return inet_pton(AF_INET6, text, &v6) == 1 && is_private_6(v6.s6_addr);
}
