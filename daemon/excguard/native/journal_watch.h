/*
 * What another program does to an open journal.
 *
 * The file belongs to the user that excguard runs as, so any program of that user can write to it and
 * truncate it. Neither may stop the programs that wait for a reply, or pass unnoticed: the receiver goes on
 * in memory, and the reader ends excguard with an error; its next start sets the file aside.
 */
#ifndef EXCGUARD_JOURNAL_WATCH_H
#define EXCGUARD_JOURNAL_WATCH_H

#include <stdint.h>

#include "journal.h"

/*
 * From now on a truncation of the file does not end the process with SIGBUS: pages that are gone become zeros
 * in memory. Does nothing when too many journals are open. Not thread-safe, like excguard_journal_unwatch.
 */
void excguard_journal_watch(struct excguard_journal *journal);

/* To be called before excguard_journal_close. */
void excguard_journal_unwatch(struct excguard_journal *journal);

/*
 * Whether the `count` records from `seq` on are what the writer has written, as far as sequence numbers say,
 * and `tail` is the seq of the oldest unread record. 0: another program has changed or truncated the file.
 */
int excguard_journal_intact(const struct excguard_journal *journal, uint64_t tail, uint64_t seq,
                            uint32_t count);

#endif
