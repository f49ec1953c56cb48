/* The hot loop of an IMA list's replay: accepts the entries of files that the policy names, extends
 * the PCRs with them, and leaves every other entry to Python (ima_replay.py).
 *
 * The list is hostile: nothing in it is read before its size is known to be within the list. An
 * entry that is malformed in any way is one to judge, and the parser there says what is wrong.
 */
enum {
    PCR = 10,
    SHA1_AT = 4,
    NAME_SIZE_AT = 24,
    NAME_AT = 28,
    MIN_HEAD = NAME_AT + 6 + 4, /* up to the data of ima-ng and ima-ns */
    ALGORITHM = 12,             /* the digest field's size, then "sha256:\0" */
    NAMESPACES = 24,
    MAX_DATA = 1024 * 1024,
};

static const uint8_t sha256_field[ALGORITHM] = "\x28\0\0\0sha256:";

/* A template's data, taken apart as far as acceptance needs. */
typedef struct {
    const uint8_t *data, *key, *rest;
    size_t size, key_size, rest_size;
} fields;

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
