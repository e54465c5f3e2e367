/* (simulator) Gives the process that loads this a code signature. */
#include <excsim.h>

__attribute__((visibility("default"))) int sign(const char *identifier, const char *team, int certificate) {
    return excsim_sign(identifier, team, (enum excsim_certificate)certificate);
}
