-- What wrk asks for: the pages in turn, as somebody who has signed in; and how many answers of each kind came.
local paths = {"/", "/runs", "/archives", "/off-site", "/dev", "/schedule", "/doctor", "/api/runs"}
local threads, at = {}, 0

function setup(thread)
  table.insert(threads, thread)
end

function init()
  good, many, broken, other = 0, 0, 0, 0
end

function request()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end

function response(status)
  if status == 200 then good = good + 1
  elseif status == 429 then many = many + 1
  elseif status >= 500 then broken = broken + 1
  else other = other + 1 end
end

function done(summary, latency)
  local sums = {good = 0, many = 0, broken = 0, other = 0}
  for _, thread in ipairs(threads) do
    for name in pairs(sums) do sums[name] = sums[name] + thread:get(name) end
  end
  local errors = summary.errors
  io.write(string.format(
    'told {"good": %d, "many": %d, "broken": %d, "other": %d, "lost": %d, "median_ms": %.1f, "p99_ms": %.1f, "s": %.1f}\n',
    sums.good, sums.many, sums.broken, sums.other, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, summary.duration / 1000000))
end
