/* Sixteen bytes of text at a time: lower case, and how often each of some letters comes. */
#include "kernel.h"
#define TEXT (1 << 20)
#define ROUNDS 500

typedef uint8_t bytes __attribute__((vector_size(16)));

static uint8_t text[TEXT];
static const uint8_t wanted[] = { 'e', 't', 'a', 'o', '\n' };
static uint32_t counts[sizeof(wanted)];

static bytes
load(size_t at)
{
    bytes loaded;

    memcpy(&loaded, &text[at], sizeof(loaded));
    return loaded;
}

int
main(void)
{
    for (int i = 0; i < TEXT; i++)
        text[i] = (uint8_t)(next_number() >> 8);
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t at = 0; at < TEXT; at += sizeof(bytes)) {
            bytes here = load(at);
            bytes capital = (bytes)(here >= 'A') & (bytes)(here <= 'Z');
            here ^= (capital & (uint8_t)0x20) + (bytes){ (uint8_t)round };
            memcpy(&text[at], &here, sizeof(here));
        }
        for (size_t letter = 0; letter < sizeof(wanted); letter++)
            for (size_t at = 0; at < TEXT; at += 255 * sizeof(bytes)) {
                bytes sums = { 0 };
                for (size_t i = at; i < at + 255 * sizeof(bytes) && i < TEXT; i += sizeof(bytes))
                    sums -= (bytes)(load(i) == wanted[letter]);
                for (size_t i = 0; i < sizeof(bytes); i++)
                    counts[letter] += sums[i];
            }
    }
    report(text, sizeof(text));
    report(counts, sizeof(counts));
}
