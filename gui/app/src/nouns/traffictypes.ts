import { noun } from "./index";

export default noun({ list: "listTrafficTypes", columns: ["traffictype", "kvmnetworklabel", "isolationmethods", "vlan"], primary: ["updateTrafficType"] });
