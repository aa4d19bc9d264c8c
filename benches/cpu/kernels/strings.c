/* Words counted in a hash table that grows, sorted, and joined to a text: many small allocations. */
#include "kernel.h"
#define WORDS 200000

typedef struct {
    char *word;
    uint32_t hash, count;
} entry;

static entry *table;
static uint32_t capacity, used;

static uint32_t
hash(const char *word)
{
    uint32_t sum = 2166136261u;

    while (*word)
        sum = (sum ^ (unsigned char)*word++) * 16777619u;
    return sum;
}

static entry *
place(entry *in, uint32_t size, const char *word, uint32_t sum)
{
    uint32_t at = sum & (size - 1);

    while (in[at].word && (in[at].hash != sum || strcmp(in[at].word, word) != 0))
        at = (at + 1) & (size - 1);
    return &in[at];
}

static void
count(const char *word)
{
    uint32_t sum = hash(word);

    if (used * 2 >= capacity) {
        uint32_t larger = capacity ? capacity * 2 : 16;
        entry *grown = calloc(larger, sizeof(*grown));
        for (uint32_t i = 0; i < capacity; i++)
            if (table[i].word)
                *place(grown, larger, table[i].word, table[i].hash) = table[i];
        free(table);
        table = grown;
        capacity = larger;
    }
    entry *found = place(table, capacity, word, sum);
    if (!found->word) {
        size_t length = strlen(word) + 1;
        *found = (entry){ memcpy(malloc(length), word, length), sum, 0 };
        used++;
    }
    found->count++;
}

static int
by_count(const void *a, const void *b)
{
    const entry *one = a, *other = b;

    if (one->count != other->count)
        return one->count < other->count ? 1 : -1;
    return strcmp(one->word, other->word);
}

int
main(void)
{
    for (int round = 0; round < 8; round++) {
        char word[32], *text = NULL;
        size_t length = 0;
        for (int i = 0; i < WORDS; i++) {
            /* Short words come often. */
            int letters = 1 + (int)(next_number() % 4) + (int)(next_number() % 3);
            for (int j = 0; j < letters; j++)
                word[j] = (char)('a' + next_number() % 8);
            word[letters] = 0;
            count(word);
        }
        uint32_t kept = 0;
        for (uint32_t i = 0; i < capacity; i++)
            if (table[i].word)
                table[kept++] = table[i];
        qsort(table, kept, sizeof(*table), by_count);
        for (uint32_t i = 0; i < kept; i++) {
            int more = snprintf(word, sizeof(word), "%s %u,", table[i].word, table[i].count);
            if ((length & (length + (size_t)more)) < length || !text)
                text = realloc(text, 2 * (length + (size_t)more) + 64);
            memcpy(text + length, word, (size_t)more + 1);
            length += (size_t)more;
            free(table[i].word);
        }
        report(text, length);
        free(text);
        free(table);
        table = NULL;
        capacity = used = 0;
    }
}
