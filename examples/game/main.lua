-- A small simulation in the terminal; its physics is a plugin. Save physics.c while it runs.
local hot = require "hotlua"
local uv = require "luv"

local here = arg[0]:match("^(.*)/") or "."
local is_terminal = uv.guess_handle(1) == "tty"
local message = "save physics.c"
local function show(report)
  message = tostring(report)
  if not is_terminal then print(message) end
end

local physics = hot.load(here .. "/build/physics.so", {
  watch = { here .. "/physics.c" },
  build = ("mkdir -p %s/build && cc -g -O2 -shared -fPIC -o %s/build/physics.so %s/physics.c"):format(here, here, here),
  on = { loaded = function(_, report) if report.from > 0 then show(report) end end, failed = show },
})
local api, width, height = physics.api, physics.enums.WIDTH, physics.enums.HEIGHT

local function draw()
  local rows = {}
  for y = 0, height - 1 do rows[y] = (" "):rep(width) end
  for i = 0, #api.balls - 1 do
    local ball = api.balls[i]
    local x, y = math.floor(ball.x + 0.5), math.max(0, math.floor(ball.y + 0.5))
    rows[y] = rows[y]:sub(1, x) .. "o" .. rows[y]:sub(x + 2)
  end
  io.write("\27[H\27[J+", ("-"):rep(width), "+\n|", table.concat(rows, "|\n|", 0, height - 1), "|\n+", ("-"):rep(width),
    "+\n", message, "\n")
end

local seconds <const> = 0.05
local last = tonumber(arg[1]) or math.huge
hot.every(seconds * 1000, function()
  local ok, problem = pcall(api.step, seconds) -- a crash is caught, and the version before goes on
  if not ok then show(problem) end
  if is_terminal then
    draw()
  elseif api.frame % 10 == 0 then
    print(("frame %d: ball 0 at %.1f, %.1f"):format(api.frame, api.balls[0].x, api.balls[0].y))
  end
  if api.frame >= last then hot.stop() end
end)
hot.run()
