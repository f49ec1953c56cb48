/* What ima_walk.c looks up: the files that a policy names, and the containers of a list.
 *
 * It comes before ima_walk.c in one source (native_build.py).
 */
/* A PCR is two blocks with nothing to buffer, for which EVP takes a third longer. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "ima_walk.h"

enum { DIGEST = 32 };

/* What an entry extends, once it was computed; the same for every list. */
enum { UNKNOWN, BEING_WRITTEN, KNOWN };
typedef struct {
    atomic_uchar state;
    uint8_t digest[DIGEST];
} extended_value;

typedef struct {
    uint32_t key, size; /* within the items; size 0: empty */
    uint32_t number;
} slot;

struct ima_files {
    const uint8_t *items;
    slot *slots;
    size_t mask;
    extended_value *extended;
};

struct ima_domains {
    ima_domain **slots;
    size_t mask, count;
    uint64_t seed; /* the list's author chooses the numbers */
};

static uint32_t read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t mix(uint64_t value)
{
    value *= UINT64_C(0x9e3779b97f4a7c15);
    return value ^ value >> 29;
}

/* Spreads the keys of a policy, which is trusted; a list's author can't lengthen a chain of them. */
static uint64_t hash_of(const uint8_t *key, size_t size)
{
    uint64_t value = size, word;

    for (; size >= sizeof word; key += sizeof word, size -= sizeof word) {
        memcpy(&word, key, sizeof word);
        value = mix(value ^ word);
    }
    word = 0;
    memcpy(&word, key, size);
    return mix(mix(value ^ word));
}

static void sha256(const uint8_t *data, size_t size, uint8_t *digest)
{
    SHA256_CTX context;

    SHA256_Init(&context);
    SHA256_Update(&context, data, size);
    SHA256_Final(digest, &context);
}

/* TPM2_PCR_Extend: SHA-256 of the value and what it is extended with. */
static void extend(uint8_t *value, const uint8_t *extended)
{
    static const uint8_t padding[SHA256_CBLOCK] = {[0] = 0x80, [62] = 0x02};
    uint8_t block[SHA256_CBLOCK];
    SHA256_CTX context;

    memcpy(block, value, DIGEST);
    memcpy(block + DIGEST, extended, DIGEST);
    SHA256_Init(&context);
    SHA256_Transform(&context, block);
    SHA256_Transform(&context, padding);
    for (int i = 0; i < DIGEST; i++)
        value[i] = (uint8_t)(context.h[i / 4] >> (24 - 8 * (i % 4)));
}

static slot *find(const ima_files *files, const uint8_t *key, size_t size)
{
    size_t at = hash_of(key, size) & files->mask;
    slot *found;

    /* At most half of the slots are taken. */
    while ((found = &files->slots[at])->size) {
        if (found->size == size && memcmp(files->items + found->key, key, size) == 0)
            break;
        at = (at + 1) & files->mask;
    }
    return found;
}

static size_t slots_for(size_t count)
{
    size_t slots = 8;

    while (slots < 2 * count)
        slots *= 2;
    return slots;
}

/* `items` are `count` keys (digest, sized path), each behind its size, and outlive what is made.
 * NULL: no memory, or malformed items.
 */
ima_files *ima_files_new(const uint8_t *items, size_t size, size_t count)
{
    ima_files *files = size <= UINT32_MAX && count <= size ? calloc(1, sizeof *files) : NULL;
    size_t at = 0, number = 0;

    if (!files)
        return NULL;
    files->items = items;
    files->mask = slots_for(count) - 1;
    files->slots = calloc(files->mask + 1, sizeof *files->slots);
    files->extended = calloc(count ? count : 1, sizeof *files->extended);
    for (; files->slots && files->extended && number < count; number++) {
        uint32_t key_size = size - at >= 4 ? read_u32(items + at) : 0;
        if (!key_size || key_size > size - at - 4)
            break;
        *find(files, items + at + 4, key_size) =
            (slot){(uint32_t)at + 4, key_size, (uint32_t)number};
        at += 4 + key_size;
    }
    if (number == count && files->slots && files->extended && at == size)
        return files;
    ima_files_free(files);
    return NULL;
}

void ima_files_free(ima_files *files)
{
    if (!files)
        return;
    free(files->slots);
    free(files->extended);
    free(files);
}

ima_domains *ima_domains_new(uint64_t seed)
{
    ima_domains *domains = calloc(1, sizeof *domains);

    if (!domains)
        return NULL;
    domains->seed = seed;
    domains->mask = slots_for(0) - 1;
    domains->slots = calloc(domains->mask + 1, sizeof *domains->slots);
    if (domains->slots)
        return domains;
    free(domains);
    return NULL;
}

void ima_domains_free(ima_domains *domains)
{
    if (!domains)
        return;
    for (size_t at = 0; at <= domains->mask; at++) {
        if (domains->slots[at])
            free(domains->slots[at]->aggregates);
        free(domains->slots[at]);
    }
    free(domains->slots);
    free(domains);
}

static ima_domain **find_domain(const ima_domains *domains, uint64_t number)
{
    size_t at = mix(mix(number ^ domains->seed)) & domains->mask;

    while (domains->slots[at] && domains->slots[at]->number != number)
        at = (at + 1) & domains->mask;
    return &domains->slots[at];
}

static int make_room(ima_domains *domains)
{
    ima_domains larger = {NULL, 2 * domains->mask + 1, domains->count, domains->seed};

    if (2 * (domains->count + 1) <= domains->mask)
        return 1;
    larger.slots = calloc(larger.mask + 1, sizeof *larger.slots);
    if (!larger.slots)
        return 0;
    for (size_t at = 0; at <= domains->mask; at++)
        if (domains->slots[at])
            *find_domain(&larger, domains->slots[at]->number) = domains->slots[at];
    free(domains->slots);
    *domains = larger;
    return 1;
}

/* A container without entries, whose `files` (NULL: none) outlive it. It lives as long as
 * `domains`. NULL: no memory, or it is there already.
 */
ima_domain *ima_domains_add(ima_domains *domains, uint64_t number, const ima_files *files)
{
    ima_domain **place = make_room(domains) ? find_domain(domains, number) : NULL;

    if (!place || *place || !(*place = calloc(1, sizeof **place)))
        return NULL;
    (*place)->number = number;
    (*place)->files = files;
    domains->count++;
    return *place;
}

/* One more entry of a container. 0: no memory. */
int ima_domain_extend(ima_domain *domain, const uint8_t *extended)
{
    uint8_t *last;

    if (domain->entries == domain->room) {
        size_t room = domain->room ? 2 * domain->room : 16;
        uint8_t *aggregates = realloc(domain->aggregates, room * DIGEST);
        if (!aggregates)
            return 0;
        domain->aggregates = aggregates;
        domain->room = room;
    }
    last = domain->aggregates + domain->entries * DIGEST;
    if (domain->entries)
        memcpy(last, last - DIGEST, DIGEST);
    else
        memset(last, 0, DIGEST);
    extend(last, extended);
    domain->entries++;
    return 1;
}
