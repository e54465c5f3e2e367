/*
 * The objects of a JSON list, found by their brackets without being decoded. The threads and images of a
 * crash report are such lists: most of its bytes, of which a reader needs a few objects.
 */
#ifndef EXCGUARD_JSON_OBJECTS_H
#define EXCGUARD_JSON_OBJECTS_H

#include <stddef.h>
#include <stdint.h>

/*
 * text: the list, from its opening bracket on, and whatever follows it. positions: gets where each object
 * begins and ends, by turns, and behind them where the list ends, all from the start of the text; it has room
 * for `room` numbers.
 *
 * Returns how many numbers were written; 0 for a list that is not closed, has elements that are not objects,
 * or does not fit, and for a text of 4 GiB and more. What is within the objects is not checked but for its
 * brackets and strings.
 */
size_t excguard_json_objects(const uint8_t *text, size_t length, uint32_t *positions, size_t room);

#endif
