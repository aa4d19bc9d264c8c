/* The mix that CoreMark has: a linked list that is searched, reversed and sorted, small integer matrices, a state
 * machine over text, and a checksum of it all. Written anew, so its figure is no CoreMark score. */
#include "kernel.h"
#define NODES 400
#define SIDE 24
#define TEXT 2000
#define ROUNDS 2000

typedef struct node {
    struct node *next;
    int16_t key, value;
} node;

static node nodes[NODES];
static int16_t left[SIDE][SIDE], right[SIDE][SIDE];
static int32_t product[SIDE][SIDE];
static char text[TEXT];

static uint16_t
checksum(uint16_t sum, uint16_t word)
{
    for (int bit = 0; bit < 16; bit++) {
        int carry = (sum ^ word) & 1;
        sum >>= 1;
        word >>= 1;
        if (carry)
            sum ^= 0xA001;
    }
    return sum;
}

static int
by_key(const node *a, const node *b)
{
    return a->key - b->key;
}

static int
by_value(const node *a, const node *b)
{
    return a->value - b->value;
}

static node *
merge(node *a, node *b, int (*order)(const node *, const node *))
{
    node head = { 0 }, *last = &head;

    while (a && b) {
        node **least = order(a, b) <= 0 ? &a : &b;
        last = last->next = *least;
        *least = (*least)->next;
    }
    last->next = a ? a : b;
    return head.next;
}

static node *
sort(node *list, int (*order)(const node *, const node *))
{
    node *half = list, *end = list;

    if (!list || !list->next)
        return list;
    while ((end = end->next) && (end = end->next))
        half = half->next;
    end = half->next;
    half->next = NULL;
    return merge(sort(list, order), sort(end, order), order);
}

static uint16_t
lists(uint16_t sum, int round)
{
    node *list = NULL, *reversed = NULL;

    for (int i = 0; i < NODES; i++) {
        nodes[i].key = (int16_t)(next_number() % 1000);
        nodes[i].value = (int16_t)i;
        nodes[i].next = list;
        list = &nodes[i];
    }
    for (int find = 0; find < 40; find++) {
        node *here = list;
        while (here && here->key != (round * 7 + find) % 1000)
            here = here->next;
        sum = checksum(sum, here ? (uint16_t)here->value : 0);
    }
    list = sort(list, by_key);
    for (node *next; list; list = next) {
        next = list->next;
        list->next = reversed;
        reversed = list;
    }
    sum = checksum(sum, (uint16_t)reversed->key);
    list = sort(reversed, by_value);
    return checksum(sum, (uint16_t)list->next->value);
}

static uint16_t
matrices(uint16_t sum)
{
    int32_t total = 0;

    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            left[i][j] = (int16_t)(next_number() & 0xff);
            right[i][j] = (int16_t)(left[i][j] + i - j);
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            int32_t cell = 0;
            for (int k = 0; k < SIDE; k++)
                cell += left[i][k] * right[k][j];
            product[i][j] = cell;
        }
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            total += (product[i][j] >> 2) & 0x7f;
    return checksum(sum, (uint16_t)total);
}

/* Which words are integers, fractions, powers, or none. */
static uint16_t
states(uint16_t sum)
{
    enum { START, SIGN, INTEGER, FRACTION, POWER, NONE } state = START;
    uint16_t counts[6] = { 0 };

    for (int i = 0; i < TEXT; i++)
        text[i] = "0123456789.e-+, "[next_number() % 16];
    for (int i = 0; i < TEXT; i++) {
        char letter = text[i];
        int digit = letter >= '0' && letter <= '9';
        if (letter == ',' || letter == ' ') {
            counts[state]++;
            state = START;
            continue;
        }
        switch (state) {
            case START:
                state = digit ? INTEGER : letter == '-' || letter == '+' ? SIGN : letter == '.' ? FRACTION : NONE;
                break;
            case SIGN:
                state = digit ? INTEGER : letter == '.' ? FRACTION : NONE;
                break;
            case INTEGER:
                state = digit ? INTEGER : letter == '.' ? FRACTION : letter == 'e' ? POWER : NONE;
                break;
            case FRACTION:
                state = digit ? FRACTION : letter == 'e' ? POWER : NONE;
                break;
            case POWER:
                state = digit || letter == '-' || letter == '+' ? POWER : NONE;
                break;
            case NONE:
                break;
        }
    }
    for (int i = 0; i < 6; i++)
        sum = checksum(sum, counts[i]);
    return sum;
}

int
main(void)
{
    uint16_t sum = 0;

    for (int round = 0; round < ROUNDS; round++)
        sum = states(matrices(lists(sum, round)));
    report(&sum, sizeof(sum));
}
