/* The handlers: a request comes as three strings, the answer goes back as a struct. */
#include <stdio.h>
#include <string.h>

struct response {
    int status;
    const char *type;
    char body[512];
};

static unsigned long requests;

struct response handle(const char *method, const char *path, const char *body)
{
    struct response response = {200, "text/plain", ""};
    requests++;
    if (strcmp(path, "/health") == 0)
        strcpy(response.body, "ok\n");
    else if (strncmp(path, "/hello", 6) == 0)
        snprintf(response.body, sizeof response.body, "Hello! This is request %lu.\n", requests);
    else if (strcmp(path, "/echo") == 0 && strcmp(method, "POST") == 0)
        snprintf(response.body, sizeof response.body, "%s", body);
    else
        response.status = 404;
    return response;
}
