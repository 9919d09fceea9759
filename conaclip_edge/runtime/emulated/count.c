/* Plugin of qemu-user that counts the instructions of the program that is emulated.

   The program asks for the count by a system call that nothing else makes: sched_rr_get_interval. Each such call appends
   a line with the instructions so far to the file that the plugin's argument names:

     qemu-aarch64 -plugin count.so,to=COUNTS PROGRAM

   Debian ships no header of qemu's plugin interface, so what is used of it is declared here. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int registers, void *);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t,
                                                              uint64_t, uint64_t, uint64_t, uint64_t, uint64_t));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);

#define PUBLIC __attribute__((visibility("default")))
#ifndef INTERFACE
#define INTERFACE 1
#endif
PUBLIC int qemu_plugin_version = INTERFACE;

struct about { /* the beginning of what qemu says of itself */
  const char *processor;
};
static int64_t mark; /* the number of sched_rr_get_interval on the emulated processor */
static uint64_t executed; /* of all threads; those that are measured compute on one */
static FILE *counts;

static void ran(unsigned cpu, void *instructions) {
  (void)cpu;
  __atomic_fetch_add(&executed, (uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block) {
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_cb(block, ran, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                   uint64_t f, uint64_t g, uint64_t h) {
  (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
  if (number != mark) return;
  fprintf(counts, "%llu\n", (unsigned long long)executed);
  fflush(counts);
}

PUBLIC int qemu_plugin_install(plugin_id id, const struct about *about, int count, char **arguments) {
  mark = !strcmp(about->processor, "x86_64") ? 148 : 127;
  for (int n = 0; n < count; n++)
    if (!strncmp(arguments[n], "to=", 3)) counts = fopen(arguments[n] + 3, "w");
  if (!counts) return 1;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
