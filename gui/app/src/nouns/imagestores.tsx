import { SpaceBar } from "../parts/SpaceBar";
import { noun } from "./index";

export default noun({
  list: "listImageStores",
  columns: ["name", { field: "disksizeused", wide: 1.6, value: (row) => Number(row.disksizeused ?? 0), cell: (row) => <SpaceBar row={row} small /> }, "url", "protocol", "readonly", "zonename"],
  facets: ["zonename"],
  create: ["addImageStore"],
  starts: { addImageStore: { provider: "NFS" } },
  needs: { addImageStore: ["name", "url", "zoneid"] },
  first: { addImageStore: ["name", "provider", "url", "zoneid"] },
  above: (row) => <SpaceBar row={row} />,
});
