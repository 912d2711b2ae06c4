/* The log's two looks: indented text, and XML. Whoever fills it names groups and leaves in both ways at once. */

struct writer {
    bool xml;
    int depth;
};

enum { LABEL_END = 42 };

static void put_escaped(const char *text) {
    for (; *text; text++) switch (*text) {
            case '&': fputs("&amp;", stdout); break;
            case '<': fputs("&lt;", stdout); break;
            case '>': fputs("&gt;", stdout); break;
            case '"': fputs("&quot;", stdout); break;
            default:
                /* XML 1.0 has no place for the other control characters, which a process name may hold. */
                putchar((unsigned char)*text < ' ' && *text != '\t' ? '?' : *text);
        }
}

static void indent(const struct writer *out) {
    for (int at = 0; at < out->depth; at++) fputs(out->xml ? "\t" : "    ", stdout);
}

static void put_leaf(struct writer *out, const char *tag, const char *label, const char *text) {
    if (out->xml ? !tag : !label) return;
    indent(out);
    if (out->xml) {
        printf("<%s>", tag);
        put_escaped(text);
        printf("</%s>\n", tag);
    } else {
        printf("%-*s: %s\n", LABEL_END - 4 * out->depth, label, text);
    }
}

static void put_number(struct writer *out, const char *tag, const char *label, uint64_t number, const char *unit) {
    char text[48];
    snprintf(text, sizeof text, "%" PRIu64 "%s", number, unit);
    put_leaf(out, tag, label, text);
}

static void open_group(struct writer *out, const char *tag, const char *label) {
    indent(out);
    if (out->xml)
        printf("<%s>\n", tag);
    else
        printf("%s\n", label);
    out->depth++;
}

static void close_group(struct writer *out, const char *tag) {
    out->depth--;
    if (!out->xml) return;
    indent(out);
    printf("</%s>\n", tag);
}
