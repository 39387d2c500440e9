-- Types from the debug info: structs, enums, arrays and function pointers without a declaration.
local hot = require "hotlua"

local here = arg[0]:match("^(.*)/") or "."
local scene = hot.load(here .. "/build/scene.so", {
  watch = { here .. "/scene.c" },
  build = ("mkdir -p %s/build && cc -g -shared -fPIC -o %s/build/scene.so %s/scene.c"):format(here, here, here),
  on = {
    loaded = function(_, report) if report.from > 0 then print(report) end end,
    failed = print,
  },
})
local api, types, enums = scene.api, scene.types, scene.enums

local circle = types.shape { kind = "CIRCLE", centre = { x = 1, y = 2 }, size = 2 }
print(circle, hot.sizeof(circle), api.area(circle))
api.add_shape(circle)
api.add_shape { kind = enums.SQUARE, centre = { 5, 5 }, size = 3 } -- a table does as well

for _, export in ipairs(scene:exports()) do print(export.signature) end

hot.every(500, function()
  api.each_shape(function(i, shape)
    shape.centre.x = shape.centre.x + 1
    print(i, shape, ("area %.2f"):format(api.area(shape)))
  end)
end)
if arg[1] then hot.after(tonumber(arg[1]) * 1000, hot.stop) end
hot.run()
