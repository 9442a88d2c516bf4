/* SPDX-License-Identifier: Apache-2.0 */
/* coprocess.c - a program for mode = stream that answers ok to each message, at the least cost. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ID "{\"id\":\""
#define ID_LENGTH 36

static char in[1 << 20], out[1 << 20];

int main(void)
{
    size_t have = 0;
    ssize_t n;
    int hello = 1;
    while ((n = read(0, in + have, sizeof in - have)) > 0) {
        size_t at = 0, used = 0;
        char *newline;
        have += (size_t)n;
        while ((newline = memchr(in + at, '\n', have - at))) {
            if (!hello && memcmp(in + at, ID, sizeof ID - 1) == 0) {
                memcpy(out + used, in + at, sizeof ID - 1 + ID_LENGTH);
                used += sizeof ID - 1 + ID_LENGTH;
                memcpy(out + used, "\",\"status\":\"ok\"}\n", 17);
                used += 17;
            }
            hello = 0;
            at = (size_t)(newline - in) + 1;
        }
        memmove(in, in + at, have - at);
        have -= at;
        for (size_t done = 0; done < used; done += (size_t)n)
            if ((n = write(1, out + done, used - done)) < 0)
                return 1;
    }
    return 0;
}
