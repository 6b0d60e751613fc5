/*
 * Stands between a process and the C library (LD_PRELOAD) and sees how it treats the files whose
 * paths begin with KORA_DISK_PREFIX.
 *
 * KORA_DISK_JOURNAL names a file that takes down every write, truncation, sync, creation and removal
 * of them in the order in which they were made, and between them every acknowledgment that leaves
 * through any other descriptor. An entry, little endian:
 *
 *   u8 kind, u16 length of the name, i64 number, u32 length of the bytes, name, bytes
 *
 *   W name offset bytes   T name size   S name       C name   U name   D   A bytes
 *   written               truncated     synced       created  removed  directory synced  acknowledged
 *
 * KORA_DISK_CONTROL names a file of eight i64 that makes a call fail; see `struct control`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAX_FD 4096
#define MARK "\"type\":\"acknowledgment\""

struct control {
  int64_t fail_write;  /* the n-th write from now on fails, half done; 0: none */
  int64_t fail_sync;   /* the n-th sync from now on fails; 0: none */
  int64_t error;       /* with this errno; below 0: the process ends there, by the signal of this number */
  int64_t failed;      /* how many calls were made to fail */
  int64_t writes;      /* how many calls were made at all */
  int64_t syncs;
  int64_t unused[2];
};

static const char *prefix;
static char directory[4096];
static int journal = -1;
static struct control *control;
static char *names[MAX_FD];
static char is_directory[MAX_FD];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void begin(void) {
  real_open = dlsym(RTLD_NEXT, "open64");
  real_close = dlsym(RTLD_NEXT, "close");
  real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  real_write = dlsym(RTLD_NEXT, "write");
  real_writev = dlsym(RTLD_NEXT, "writev");
  real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
  real_fsync = dlsym(RTLD_NEXT, "fsync");
  real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  real_unlink = dlsym(RTLD_NEXT, "unlink");
  prefix = getenv("KORA_DISK_PREFIX");
  if (prefix == NULL) return;
  strncpy(directory, prefix, sizeof directory - 1);
  char *slash = strrchr(directory, '/');
  if (slash != NULL) *slash = 0;
  const char *path = getenv("KORA_DISK_JOURNAL");
  if (path != NULL) journal = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  path = getenv("KORA_DISK_CONTROL");
  if (path == NULL) return;
  int fd = real_open(path, O_RDWR | O_CLOEXEC);
  void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped != MAP_FAILED) control = mapped;
  real_close(fd);
}

/* What follows the prefix; NULL for files that are none of ours. */
static const char *name_of(const char *path) {
  if (prefix == NULL || strncmp(path, prefix, strlen(prefix)) != 0) return NULL;
  return path + strlen(prefix);
}

static const char *name_of_fd(int fd) { return fd >= 0 && fd < MAX_FD ? names[fd] : NULL; }

static void note(char kind, const char *name, int64_t number, const void *bytes, uint32_t length) {
  if (journal < 0) return;
  uint16_t name_length = name == NULL ? 0 : strlen(name);
  char head[15];
  head[0] = kind;
  memcpy(head + 1, &name_length, 2);
  memcpy(head + 3, &number, 8);
  memcpy(head + 11, &length, 4);
  struct iovec parts[3] = {{head, sizeof head}, {(void *)name, name_length}, {(void *)bytes, length}};
  pthread_mutex_lock(&lock);
  if (real_writev(journal, parts, 3) < 0) abort();
  pthread_mutex_unlock(&lock);
}

static int is_due(int64_t *countdown, int64_t *calls) {
  if (control == NULL) return 0;
  (*calls)++;
  if (*countdown == 0 || --*countdown > 0) return 0;
  control->failed++;
  errno = (int)control->error;
  return 1;
}

static void end_if_told(void) {
  if (control->error < 0) kill(getpid(), (int)-control->error);
}

static int opened(int fd, const char *path, int is_new) {
  if (fd < 0 || fd >= MAX_FD || prefix == NULL) return fd;
  const char *name = name_of(path);
  if (name != NULL) {
    names[fd] = strdup(name);
    if (is_new) note('C', name, 0, NULL, 0);
  } else if (strcmp(path, directory) == 0) {
    is_directory[fd] = 1;
  }
  return fd;
}

int open64(const char *path, int flags, ...) {
  mode_t mode = 0;
  if (flags & (O_CREAT | O_TMPFILE)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  struct stat found;
  int is_new = (flags & O_CREAT) && name_of(path) != NULL && stat(path, &found) != 0;
  return opened(real_open(path, flags, mode), path, is_new);
}

int open(const char *path, int flags, ...) {
  mode_t mode = 0;
  if (flags & (O_CREAT | O_TMPFILE)) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  return open64(path, flags, mode);
}

int close(int fd) {
  if (fd >= 0 && fd < MAX_FD) {
    free(names[fd]);
    names[fd] = NULL;
    is_directory[fd] = 0;
  }
  return real_close(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
  const char *name = name_of_fd(fd);
  if (name == NULL) return real_pwrite(fd, bytes, length, offset);
  if (control != NULL && is_due(&control->fail_write, &control->writes)) {
    int error = errno;
    if (length > 1) real_pwrite(fd, bytes, length / 2, offset);
    end_if_told();
    errno = error;
    return -1;
  }
  ssize_t written = real_pwrite(fd, bytes, length, offset);
  if (written > 0) note('W', name, offset, bytes, (uint32_t)written);
  return written;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return pwrite64(fd, bytes, length, offset);
}

static void note_acknowledgments(const void *bytes, size_t length) {
  if (memmem(bytes, length, MARK, strlen(MARK)) != NULL) note('A', NULL, 0, bytes, (uint32_t)length);
}

ssize_t write(int fd, const void *bytes, size_t length) {
  if (name_of_fd(fd) == NULL && journal >= 0) note_acknowledgments(bytes, length);
  return real_write(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (journal >= 0)
    for (int part = 0; part < count; part++) note_acknowledgments(parts[part].iov_base, parts[part].iov_len);
  return real_writev(fd, parts, count);
}

int ftruncate64(int fd, off_t size) {
  int result = real_ftruncate(fd, size);
  const char *name = name_of_fd(fd);
  if (name != NULL && result == 0) note('T', name, size, NULL, 0);
  return result;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int sync_with(int (*real)(int), int fd) {
  const char *name = name_of_fd(fd);
  if (name != NULL && control != NULL && is_due(&control->fail_sync, &control->syncs)) {
    end_if_told();
    return -1;
  }
  int result = real(fd);
  if (result != 0) return result;
  if (name != NULL) note('S', name, 0, NULL, 0);
  else if (fd >= 0 && fd < MAX_FD && is_directory[fd]) note('D', NULL, 0, NULL, 0);
  return result;
}

int fsync(int fd) { return sync_with(real_fsync, fd); }

int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

int unlink(const char *path) {
  int result = real_unlink(path);
  const char *name = name_of(path);
  if (name != NULL && result == 0) note('U', name, 0, NULL, 0);
  return result;
}
