// ControlPage: the first page of an arena.
#pragma once

#include "transport/arena_layout.h"
#include "transport/doorbell.h"
#include "transport/rank_state.h"
#include "transport/whereabouts.h"

namespace rueda::transport {

struct ControlPage {
  Doorbell doorbell;   // wakes the owner's engine; rung by everybody
  RankState state;     // written by the owner
  DriversPlace place;  // the same
};
static_assert(sizeof(ControlPage) <= kPageBytes);

}  // namespace rueda::transport
