import { noun } from "./index";

export default noun({ list: "listManagementServers", columns: ["name", "state", "version", "ipaddress", "agentscount", "pendingjobscount", "lastserverstart"] });
