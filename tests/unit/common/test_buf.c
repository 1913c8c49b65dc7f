/* common/buf: the growing buffer and files read into it. */
#include "common/buf.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A directory of this test's own, and a file in it. */
static char dir[64];
static char path[96];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/test_buf.XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/file", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void write_file(size_t len)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < len; i++)
        fputc('a' + (int)(i % 26), f);
    assert_int_equal(fclose(f), 0);
}

static void keeps_what_is_appended_while_it_grows(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 10000; i++)
        buf_append(&b, "0123456789", 10);
    assert_int_equal(b.len, 100000);
    assert_int_equal(strlen(b.data), 100000);
    for (size_t i = 0; i < b.len; i++)
        assert_int_equal(b.data[i], '0' + (int)(i % 10));
    buf_free(&b);
}

static void appends_bytes_with_nul_in_them(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_append(&b, "a\0b", 3);
    assert_int_equal(b.len, 3);
    assert_memory_equal(b.data, "a\0b", 4);
    buf_free(&b);
}

static void appending_nothing_makes_an_empty_string(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_append(&b, NULL, 0);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    buf_free(&b);
}

static void formats_text_of_any_length(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_append_str(&b, "n=");
    buf_appendf(&b, "%d %s", 42, "x");
    assert_string_equal(b.data, "n=42 x");
    buf_reset(&b);
    buf_appendf(&b, "%5000d", 7);
    assert_int_equal(b.len, 5000);
    assert_int_equal(b.data[4999], '7');
    assert_int_equal(b.data[5000], '\0');
    buf_free(&b);
}

static void reset_keeps_the_memory_and_free_returns_it(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_append_str(&b, "text");
    size_t cap = b.cap;
    buf_reset(&b);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, cap);
    assert_string_equal(b.data, "");
    buf_free(&b);
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
    buf_append_str(&b, "again");
    assert_string_equal(b.data, "again");
    buf_free(&b);
}

static void reset_of_an_unused_buffer_is_fine(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_reset(&b);
    assert_null(b.data);
}

static void appends_a_whole_file_to_the_content(void **state)
{
    (void)state;
    struct error err;
    struct buf b = {0};
    write_file(40000);
    buf_append_str(&b, ">");
    assert_true(buf_read_file(&b, path, 40000, &err));
    assert_int_equal(b.len, 40001);
    assert_memory_equal(b.data, ">abc", 4);
    assert_int_equal(b.data[40000], 'a' + 39999 % 26);
    buf_free(&b);
}

static void reads_an_empty_file_as_an_empty_string(void **state)
{
    (void)state;
    struct error err;
    struct buf b = {0};
    write_file(0);
    assert_true(buf_read_file(&b, path, 10, &err));
    assert_string_equal(b.data, "");
    buf_free(&b);
}

static void refuses_a_file_over_the_limit_and_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct error err;
    struct buf b = {0};
    write_file(40000);
    buf_append_str(&b, "kept");
    assert_false(buf_read_file(&b, path, 39999, &err));
    assert_string_equal(b.data, "kept");
    assert_int_equal(b.len, 4);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "39999"));
    buf_free(&b);
}

static void names_the_path_of_a_missing_file(void **state)
{
    (void)state;
    struct error err;
    struct buf b = {0};
    assert_false(buf_read_file(&b, path, 10, &err));
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, "No such file"));
    assert_null(b.data);
}

static void refuses_a_directory(void **state)
{
    (void)state;
    struct error err;
    struct buf b = {0};
    assert_false(buf_read_file(&b, dir, 10, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
}

static void refuses_a_fifo_without_waiting_for_its_writer(void **state)
{
    (void)state;
    struct error err;
    struct buf b = {0};
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(5);
    assert_false(buf_read_file(&b, path, 10, &err));
    alarm(0);
    assert_non_null(strstr(err.text, "not a regular file"));
}

static void leaves_no_descriptor_open(void **state)
{
    (void)state;
    struct error err;
    struct buf b = {0};
    write_file(10);
    int before = dup(STDOUT_FILENO);
    close(before);
    assert_true(buf_read_file(&b, path, 10, &err));
    assert_false(buf_read_file(&b, path, 9, &err));
    assert_false(buf_read_file(&b, dir, 9, &err));
    int after = dup(STDOUT_FILENO);
    close(after);
    assert_int_equal(after, before);
    buf_free(&b);
}

static void allocates_zeroed_memory_and_copies_text(void **state)
{
    (void)state;
    char *zeroed = mem_calloc(3, 5);
    for (size_t i = 0; i < 15; i++)
        assert_int_equal(zeroed[i], 0);
    char *empty = mem_calloc(0, 5);
    assert_non_null(empty);
    char *copy = mem_strdup("text");
    assert_string_equal(copy, "text");
    free(zeroed);
    free(empty);
    free(copy);
}

static void an_impossible_size_aborts_the_process_with_a_message(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        struct buf b = {0};
        buf_append(&b, "", SIZE_MAX / 2);
        _exit(0);
    }
    close(fds[1]);
    char message[64] = "";
    assert_true(read(fds[0], message, sizeof message - 1) > 0);
    close(fds[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_string_equal(message, "out of memory\n");
}

#define test_with_file(function) cmocka_unit_test_setup_teardown(function, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_is_appended_while_it_grows),
        cmocka_unit_test(appends_bytes_with_nul_in_them),
        cmocka_unit_test(appending_nothing_makes_an_empty_string),
        cmocka_unit_test(formats_text_of_any_length),
        cmocka_unit_test(reset_keeps_the_memory_and_free_returns_it),
        cmocka_unit_test(reset_of_an_unused_buffer_is_fine),
        test_with_file(appends_a_whole_file_to_the_content),
        test_with_file(reads_an_empty_file_as_an_empty_string),
        test_with_file(refuses_a_file_over_the_limit_and_leaves_the_buffer_as_it_was),
        test_with_file(names_the_path_of_a_missing_file),
        test_with_file(refuses_a_directory),
        test_with_file(refuses_a_fifo_without_waiting_for_its_writer),
        test_with_file(leaves_no_descriptor_open),
        cmocka_unit_test(allocates_zeroed_memory_and_copies_text),
        cmocka_unit_test(an_impossible_size_aborts_the_process_with_a_message),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
