#pragma once

#include "base/work.h"
#include "server/http_message.h"
#include "server/server_context.h"

// The routes for who watches the server: monitors, Prometheus, load balancers.
namespace sluice::server {

Reply say_status(const ServerContext& context, const HttpRequest& request, Work& work);
Reply say_metrics(const ServerContext& context, const HttpRequest& request, Work& work);

// The machine and the server's threads, for who is not on it. Counters of CPU time are in seconds
// since they began, those of energy and of disks since some moment; what the machine or a GPU does
// not tell is absent.
// {"cores":[{"busy_s":1.5,"total_s":9.5}],"memory":{"total_bytes":1,"available_bytes":1},
//  "load":[0.5,0.4,0.3],"disk_read_bytes":1,"disk_written_bytes":1,"clock_mhz":2900.5,
//  "temperature_celsius":50.5,"energy_joules":1.5,
//  "process":{"resident_bytes":1,"threads":[{"id":7,"name":"engine","cpu_s":1.5}]},
//  "other_processes":[{"pid":7,"name":"make","cpu_s":1.5}],
//  "gpus":[{"index":0,"name":"H200","busy_ratio":0.5,"memory_used_bytes":1,"memory_bytes":2,
//  "power_watts":100.5,"power_limit_watts":700.5,"temperature_celsius":50,"clock_mhz":1980,
//  "memory_clock_mhz":2619,"energy_joules":1.5}]}
Reply say_machine(const ServerContext& context, const HttpRequest& request, Work& work);

// The requests under way and the latest that ended, ?limit=N of them (100); the life of one by its
// id. Throws Error(kNotFound) for an id that is not remembered.
Reply list_requests(const ServerContext& context, const HttpRequest& request, Work& work);
Reply cancel_request(const ServerContext& context, const HttpRequest& request, Work& work);
Reply show_request(const ServerContext& context, const HttpRequest& request, Work& work);

// 200 as long as the process answers at all: who gets no reply starts it again.
Reply say_alive(const ServerContext& context, const HttpRequest& request, Work& work);
// 503 when requests should go elsewhere: the server is about to end.
Reply say_ready(const ServerContext& context, const HttpRequest& request, Work& work);

}  // namespace sluice::server
