/* What native_build.py declares to Python and ima_walk.c defines. */

enum { IMA_MATCHED, IMA_AT_END, IMA_TO_JUDGE, IMA_NO_MEMORY };
/* Templates whose entries a list of files can accept; ima-ns only in a container. */
enum { IMA_NG = 1, IMA_SIG = 2, IMA_NS = 4 };

typedef struct ima_files ima_files;
typedef struct ima_domains ima_domains;

typedef struct {
    uint64_t number;
    const ima_files *files;
    size_t entries, room;
    uint8_t *aggregates; /* 32 bytes after each entry */
} ima_domain;

typedef struct {
    const uint8_t *log;
    size_t size, at;
    uint64_t count;
    uint32_t templates;
    const ima_files *files;
    ima_domains *domains; /* NULL: every entry extends `host` */
    uint32_t domains_pcr;
    uint8_t comparable; /* 0: nothing can match */
    uint8_t host[32], inner[32], quoted_host[32], quoted_inner[32];
} ima_walk;

ima_files *ima_files_new(const uint8_t *items, size_t size, size_t count);
void ima_files_free(ima_files *files);
ima_domains *ima_domains_new(uint64_t seed);
void ima_domains_free(ima_domains *domains);
ima_domain *ima_domains_add(ima_domains *domains, uint64_t number, const ima_files *files);
int ima_domain_extend(ima_domain *domain, const uint8_t *extended);
int ima_walk_on(ima_walk *walk);
int ima_walk_extend(ima_walk *walk, uint32_t pcr, const uint8_t *extended, size_t end);
