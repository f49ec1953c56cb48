/* The hot loop of an IMA list's replay: accepts the entries of files that the policy names, extends
 * the PCRs with them, and leaves every other entry to Python (ima_replay.py).
 *
 * The list is hostile: nothing in it is read before its size is known to be within the list. An
 * entry that is malformed in any way is one to judge, and the parser there says what is wrong.
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

enum {
    PCR = 10,
    DIGEST = 32,
    SHA1_AT = 4,
    NAME_SIZE_AT = 24,
    NAME_AT = 28,
    MIN_HEAD = NAME_AT + 6 + 4, /* up to the data of ima-ng and ima-ns */
    ALGORITHM = 12,             /* the digest field's size, then "sha256:\0" */
    NAMESPACES = 24,
    MAX_DATA = 1024 * 1024,
};

static const uint8_t sha256_field[ALGORITHM] = "\x28\0\0\0sha256:";

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

/* A template's data, taken apart as far as acceptance needs. */
typedef struct {
    const uint8_t *data, *key, *rest;
    size_t size, key_size, rest_size;
} fields;

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

/* Whether the data begin with a SHA-256 digest and a path that ends with a zero byte. */
static int take_apart(const uint8_t *data, size_t size, fields *f)
{
    size_t path_size, head = ALGORITHM + DIGEST + 4;

    if (size <= head || memcmp(data, sha256_field, ALGORITHM) != 0)
        return 0;
    path_size = read_u32(data + head - 4);
    if (path_size == 0 || path_size > size - head || data[head + path_size - 1] != 0)
        return 0;
    *f = (fields){data, data + ALGORITHM, data + head + path_size,
                  size, DIGEST + 4 + path_size, size - head - path_size};
    return 1;
}

/* A file's ima-ng entry always extends the same; 1 when `files` name it. */
static int known_file(const ima_files *files, const fields *f, uint8_t *extended)
{
    const slot *found = find(files, f->key, f->key_size);
    extended_value *value;
    unsigned char state = UNKNOWN;

    if (!found->size)
        return 0;
    value = &files->extended[found->number];
    if (atomic_load_explicit(&value->state, memory_order_acquire) == KNOWN) {
        memcpy(extended, value->digest, DIGEST);
        return 1;
    }
    sha256(f->data, f->size, extended);
    /* Of several threads one remembers. */
    if (atomic_compare_exchange_strong(&value->state, &state, BEING_WRITTEN)) {
        memcpy(value->digest, extended, DIGEST);
        atomic_store_explicit(&value->state, KNOWN, memory_order_release);
    }
    return 1;
}

static int is_named(const ima_files *files, const fields *f, uint8_t *extended)
{
    if (!find(files, f->key, f->key_size)->size)
        return 0;
    sha256(f->data, f->size, extended);
    return 1;
}

static int template_of(const uint8_t *name, size_t size)
{
    if (size == 6 && memcmp(name, "ima-ng", 6) == 0)
        return IMA_NG;
    if (size == 6 && memcmp(name, "ima-ns", 6) == 0)
        return IMA_NS;
    return size == 7 && memcmp(name, "ima-sig", 7) == 0 ? IMA_SIG : 0;
}

static int accept_host(const ima_walk *walk, int template, const fields *f, uint8_t *extended)
{
    if (!(walk->templates & (uint32_t)template))
        return 0;
    if (template == IMA_NG)
        return f->rest_size == 0 && known_file(walk->files, f, extended);
    return template == IMA_SIG && f->rest_size >= 4 && read_u32(f->rest) == f->rest_size - 4 &&
           is_named(walk->files, f, extended);
}

/* 1: accepted, 0: not, -1: no memory. */
static int accept_inner(const ima_walk *walk, int template, const fields *f, uint8_t *extended)
{
    uint64_t number;
    ima_domain *domain;

    if (template != IMA_NS || f->rest_size != 4 + NAMESPACES || read_u32(f->rest) != NAMESPACES)
        return 0;
    number = read_u32(f->rest + 4) | (uint64_t)read_u32(f->rest + 8) << 32;
    domain = *find_domain(walk->domains, number);
    if (!domain || !domain->files || !is_named(domain->files, f, extended))
        return 0;
    return ima_domain_extend(domain, extended) ? 1 : -1;
}

/* Accepts the entry at `walk->at`: as accept_inner; `end` is then where the next one begins. */
static int accept(const ima_walk *walk, uint32_t *pcr, uint8_t *extended, size_t *end)
{
    static const uint8_t violation[DIGEST];
    const uint8_t *entry = walk->log + walk->at;
    size_t left = walk->size - walk->at, head;
    uint32_t name_size, data_size;
    fields f;
    int template;

    /* Entry 0 is boot_aggregate: whether it is right depends on the quoted PCRs. */
    if (walk->count == 0 || left < MIN_HEAD ||
        memcmp(entry + SHA1_AT, violation, NAME_SIZE_AT - SHA1_AT) == 0)
        return 0;
    *pcr = read_u32(entry);
    name_size = read_u32(entry + NAME_SIZE_AT);
    head = NAME_AT + (size_t)name_size + 4;
    if (head > left)
        return 0;
    template = template_of(entry + NAME_AT, name_size);
    data_size = read_u32(entry + head - 4);
    if (data_size > MAX_DATA || data_size > left - head ||
        !take_apart(entry + head, data_size, &f))
        return 0;
    *end = walk->at + head + data_size;
    if (*pcr == PCR)
        return accept_host(walk, template, &f, extended);
    if (walk->domains && *pcr == walk->domains_pcr)
        return accept_inner(walk, template, &f, extended);
    return 0;
}

/* Accepts what it can. IMA_TO_JUDGE: the entry at `walk->at` is one for ima_walk_extend. */
int ima_walk_on(ima_walk *walk)
{
    while (walk->at < walk->size) {
        uint8_t extended[DIGEST];
        uint32_t pcr;
        size_t end;
        int accepted = accept(walk, &pcr, extended, &end);

        if (accepted != 1)
            return accepted ? IMA_NO_MEMORY : IMA_TO_JUDGE;
        if (ima_walk_extend(walk, pcr, extended, end))
            return IMA_MATCHED;
    }
    return IMA_AT_END;
}

/* Extends by the entry that ends at `end`; whether the quoted values are reached. */
int ima_walk_extend(ima_walk *walk, uint32_t pcr, const uint8_t *extended, size_t end)
{
    if (walk->domains && pcr == walk->domains_pcr)
        extend(walk->inner, extended);
    else if (!walk->domains || pcr == PCR)
        extend(walk->host, extended);
    walk->at = end;
    walk->count++;
    return walk->comparable && memcmp(walk->host, walk->quoted_host, DIGEST) == 0 &&
           (!walk->domains || memcmp(walk->inner, walk->quoted_inner, DIGEST) == 0);
}
