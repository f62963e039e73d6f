CREATE TABLE account (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	type BIGINT NOT NULL,
	role_id TEXT NOT NULL,
	role_type TEXT NOT NULL,
	state TEXT NOT NULL,
	apikey_access TEXT NOT NULL,
	project_id TEXT,
	networkdomain TEXT,
	default_zone_id TEXT,
	details TEXT,
	created TEXT NOT NULL,
	CONSTRAINT pk_account PRIMARY KEY (number),
	CONSTRAINT uq_account_domain_id_name UNIQUE (domain_id, name),
	CONSTRAINT uq_account_id UNIQUE (id),
	CONSTRAINT fk_account_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_account_role_id FOREIGN KEY(role_id) REFERENCES role (id)
);

CREATE INDEX ix_account_default_zone_id ON account (default_zone_id);

CREATE INDEX ix_account_domain_id ON account (domain_id);

CREATE INDEX ix_account_role_id ON account (role_id);

CREATE TABLE address (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	range_id TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	vlan TEXT NOT NULL,
	ip TEXT NOT NULL,
	state TEXT NOT NULL,
	account_id TEXT,
	domain_id TEXT,
	project_id TEXT,
	network_id TEXT,
	source_nat BOOLEAN NOT NULL,
	allocated TEXT,
	CONSTRAINT pk_address PRIMARY KEY (number),
	CONSTRAINT uq_address_zone_id_vlan_ip UNIQUE (zone_id, vlan, ip),
	CONSTRAINT uq_address_id UNIQUE (id),
	CONSTRAINT fk_address_range_id FOREIGN KEY(range_id) REFERENCES vlaniprange (id) ON DELETE CASCADE,
	CONSTRAINT fk_address_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_address_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_address_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_address_project_id FOREIGN KEY(project_id) REFERENCES project (id),
	CONSTRAINT fk_address_network_id FOREIGN KEY(network_id) REFERENCES network (id)
);

CREATE INDEX ix_address_account_id ON address (account_id);

CREATE INDEX ix_address_domain_id ON address (domain_id);

CREATE INDEX ix_address_network_id ON address (network_id);

CREATE INDEX ix_address_project_id ON address (project_id);

CREATE INDEX ix_address_range_id ON address (range_id);

CREATE INDEX ix_address_zone_id ON address (zone_id);

CREATE INDEX ix_address_zone_id_state ON address (zone_id, state);

CREATE TABLE alert (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	type BIGINT NOT NULL,
	name TEXT NOT NULL,
	description TEXT NOT NULL,
	sent TEXT NOT NULL,
	resolved TEXT,
	lasting TEXT,
	archived BOOLEAN NOT NULL,
	mail TEXT NOT NULL,
	mail_tries BIGINT NOT NULL,
	mail_after FLOAT NOT NULL,
	zone_id TEXT,
	pod_id TEXT,
	CONSTRAINT pk_alert PRIMARY KEY (number),
	CONSTRAINT uq_alert_lasting UNIQUE (lasting),
	CONSTRAINT uq_alert_id UNIQUE (id)
);

CREATE INDEX ix_alert_archived_number ON alert (archived, number);

CREATE INDEX ix_alert_mail_mail_after ON alert (mail, mail_after);

CREATE TABLE annotation (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	annotation TEXT NOT NULL,
	entity_kind TEXT NOT NULL,
	entity_id TEXT NOT NULL,
	entity_name TEXT,
	user_id TEXT NOT NULL,
	username TEXT NOT NULL,
	adminsonly BOOLEAN NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_annotation PRIMARY KEY (number),
	CONSTRAINT uq_annotation_id UNIQUE (id)
);

CREATE INDEX ix_annotation_entity_id_number ON annotation (entity_id, number);

CREATE INDEX ix_annotation_user_id ON annotation (user_id);

CREATE TABLE asyncjob (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	operation TEXT NOT NULL,
	args TEXT NOT NULL,
	cmd TEXT NOT NULL,
	account_id TEXT,
	user_id TEXT,
	domain_id TEXT,
	instance_type TEXT,
	instance_id TEXT,
	event TEXT,
	event_id TEXT,
	internal BOOLEAN NOT NULL,
	phase TEXT NOT NULL,
	status BIGINT NOT NULL,
	journal TEXT NOT NULL,
	at TEXT NOT NULL,
	error TEXT,
	owner TEXT,
	epoch BIGINT NOT NULL,
	cancelled BOOLEAN NOT NULL,
	percent BIGINT NOT NULL,
	created TEXT NOT NULL,
	completed TEXT,
	CONSTRAINT pk_asyncjob PRIMARY KEY (number),
	CONSTRAINT uq_asyncjob_id UNIQUE (id)
);

CREATE INDEX ix_asyncjob_account_id_number ON asyncjob (account_id, number);

CREATE INDEX ix_asyncjob_instance_id ON asyncjob (instance_id);

CREATE INDEX ix_asyncjob_phase_owner ON asyncjob (phase, owner);

CREATE TABLE authority (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	certificate TEXT NOT NULL,
	key TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_authority PRIMARY KEY (number),
	CONSTRAINT uq_authority_id UNIQUE (id)
);

CREATE TABLE certificate (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	serial TEXT NOT NULL,
	subject TEXT NOT NULL,
	guid TEXT,
	expires TEXT NOT NULL,
	revoked TEXT,
	pem TEXT,
	key TEXT,
	created TEXT NOT NULL,
	CONSTRAINT pk_certificate PRIMARY KEY (number),
	CONSTRAINT uq_certificate_id UNIQUE (id),
	CONSTRAINT uq_certificate_serial UNIQUE (serial)
);

CREATE INDEX ix_certificate_guid ON certificate (guid);

CREATE INDEX ix_certificate_revoked ON certificate (revoked);

CREATE INDEX ix_certificate_subject ON certificate (subject);

CREATE TABLE cluster (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	pod_id TEXT NOT NULL,
	name TEXT NOT NULL,
	hypervisor TEXT NOT NULL,
	cluster_type TEXT NOT NULL,
	allocation_state TEXT NOT NULL,
	managed_state TEXT NOT NULL,
	arch TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_cluster PRIMARY KEY (number),
	CONSTRAINT uq_cluster_pod_id_name UNIQUE (pod_id, name),
	CONSTRAINT uq_cluster_id UNIQUE (id),
	CONSTRAINT fk_cluster_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_cluster_pod_id FOREIGN KEY(pod_id) REFERENCES pod (id)
);

CREATE INDEX ix_cluster_pod_id ON cluster (pod_id);

CREATE INDEX ix_cluster_zone_id ON cluster (zone_id);

CREATE TABLE console_ticket (
	digest TEXT NOT NULL,
	machine_id TEXT NOT NULL,
	user_id TEXT NOT NULL,
	extra TEXT,
	until FLOAT NOT NULL,
	CONSTRAINT pk_console_ticket PRIMARY KEY (digest)
);

CREATE TABLE disk (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	machine_id TEXT NOT NULL,
	volume_id TEXT NOT NULL,
	device BIGINT NOT NULL,
	CONSTRAINT pk_disk PRIMARY KEY (number),
	CONSTRAINT uq_disk_machine_id_device UNIQUE (machine_id, device),
	CONSTRAINT uq_disk_id UNIQUE (id),
	CONSTRAINT fk_disk_machine_id FOREIGN KEY(machine_id) REFERENCES virtualmachine (id) ON DELETE CASCADE,
	CONSTRAINT uq_disk_volume_id UNIQUE (volume_id),
	CONSTRAINT fk_disk_volume_id FOREIGN KEY(volume_id) REFERENCES volume (id)
);

CREATE INDEX ix_disk_machine_id ON disk (machine_id);

CREATE TABLE diskoffering (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	displaytext TEXT NOT NULL,
	disksize BIGINT NOT NULL,
	is_customized BOOLEAN NOT NULL,
	provisioning_type TEXT NOT NULL,
	storage_type TEXT NOT NULL,
	tags TEXT,
	cache_mode TEXT NOT NULL,
	bytesreadrate BIGINT,
	byteswriterate BIGINT,
	iopsreadrate BIGINT,
	iopswriterate BIGINT,
	displayoffering BOOLEAN NOT NULL,
	state TEXT NOT NULL,
	domain_ids TEXT,
	zone_ids TEXT,
	details TEXT,
	sortkey BIGINT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_diskoffering PRIMARY KEY (number),
	CONSTRAINT uq_diskoffering_id UNIQUE (id)
);

CREATE TABLE domain (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	parent_id TEXT,
	path TEXT NOT NULL,
	trail TEXT NOT NULL,
	level BIGINT NOT NULL,
	networkdomain TEXT,
	state TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_domain PRIMARY KEY (number),
	CONSTRAINT uq_domain_parent_id_name UNIQUE (parent_id, name),
	CONSTRAINT uq_domain_id UNIQUE (id),
	CONSTRAINT fk_domain_parent_id FOREIGN KEY(parent_id) REFERENCES domain (id)
);

CREATE INDEX ix_domain_parent_id ON domain (parent_id);

CREATE INDEX ix_domain_trail ON domain (trail);

CREATE TABLE event (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	type TEXT NOT NULL,
	level TEXT NOT NULL,
	description TEXT NOT NULL,
	state TEXT NOT NULL,
	user_id TEXT,
	username TEXT,
	parent TEXT,
	resource_kind TEXT,
	resource_id TEXT,
	resource_name TEXT,
	archived BOOLEAN NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_event PRIMARY KEY (number),
	CONSTRAINT uq_event_id UNIQUE (id)
);

CREATE INDEX ix_event_account_id ON event (account_id);

CREATE INDEX ix_event_account_id_number ON event (account_id, number);

CREATE INDEX ix_event_domain_id ON event (domain_id);

CREATE INDEX ix_event_project_id ON event (project_id);

CREATE INDEX ix_event_resource_id_number ON event (resource_id, number);

CREATE TABLE held (
	key TEXT NOT NULL,
	job BIGINT NOT NULL,
	CONSTRAINT pk_held PRIMARY KEY (key)
);

CREATE INDEX ix_held_job ON held (job);

CREATE TABLE host (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	pod_id TEXT NOT NULL,
	cluster_id TEXT NOT NULL,
	name TEXT NOT NULL,
	url TEXT NOT NULL,
	hypervisor TEXT NOT NULL,
	guid TEXT,
	state TEXT NOT NULL,
	resource_state TEXT NOT NULL,
	type TEXT NOT NULL,
	ip_address TEXT,
	version TEXT,
	hypervisor_version TEXT,
	domain_type TEXT,
	arch TEXT NOT NULL,
	cores BIGINT NOT NULL,
	sockets BIGINT NOT NULL,
	mhz BIGINT NOT NULL,
	memory_total BIGINT NOT NULL,
	cpu_capacity BIGINT NOT NULL,
	cpu_reserved BIGINT NOT NULL,
	memory_capacity BIGINT NOT NULL,
	memory_reserved BIGINT NOT NULL,
	machines BIGINT NOT NULL,
	host_tags TEXT,
	username TEXT,
	password TEXT,
	problems TEXT,
	boot_id TEXT NOT NULL,
	details TEXT,
	state_since TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_host PRIMARY KEY (number),
	CONSTRAINT uq_host_guid UNIQUE (guid),
	CONSTRAINT uq_host_id UNIQUE (id),
	CONSTRAINT fk_host_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_host_pod_id FOREIGN KEY(pod_id) REFERENCES pod (id),
	CONSTRAINT fk_host_cluster_id FOREIGN KEY(cluster_id) REFERENCES cluster (id)
);

CREATE INDEX ix_host_cluster_id ON host (cluster_id);

CREATE INDEX ix_host_pod_id ON host (pod_id);

CREATE INDEX ix_host_zone_id ON host (zone_id);

CREATE INDEX ix_host_zone_id_hypervisor_state_resource_state ON host (zone_id, hypervisor, state, resource_state);

CREATE TABLE hypervisorcapabilities (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	hypervisor TEXT NOT NULL,
	hypervisorversion TEXT NOT NULL,
	max_guests BIGINT NOT NULL,
	max_hosts BIGINT,
	security_groups BOOLEAN NOT NULL,
	storage_motion BOOLEAN NOT NULL,
	vm_snapshot BOOLEAN NOT NULL,
	CONSTRAINT pk_hypervisorcapabilities PRIMARY KEY (number),
	CONSTRAINT uq_hypervisorcapabilities_hypervisor_hypervisorversion UNIQUE (hypervisor, hypervisorversion),
	CONSTRAINT uq_hypervisorcapabilities_id UNIQUE (id)
);

CREATE TABLE imagestore (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	zone_id TEXT,
	name TEXT NOT NULL,
	url TEXT NOT NULL,
	protocol TEXT NOT NULL,
	providername TEXT NOT NULL,
	path TEXT NOT NULL,
	readonly BOOLEAN NOT NULL,
	state TEXT NOT NULL,
	disk_size_total BIGINT NOT NULL,
	disk_size_used BIGINT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_imagestore PRIMARY KEY (number),
	CONSTRAINT uq_imagestore_id UNIQUE (id),
	CONSTRAINT fk_imagestore_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT uq_imagestore_name UNIQUE (name)
);

CREATE INDEX ix_imagestore_zone_id ON imagestore (zone_id);

CREATE TABLE keypair (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	description TEXT,
	user_id TEXT NOT NULL,
	apikey TEXT NOT NULL,
	secret TEXT NOT NULL,
	rules TEXT,
	startdate TEXT,
	enddate TEXT,
	created TEXT NOT NULL,
	CONSTRAINT pk_keypair PRIMARY KEY (number),
	CONSTRAINT uq_keypair_user_id_name UNIQUE (user_id, name),
	CONSTRAINT uq_keypair_id UNIQUE (id),
	CONSTRAINT fk_keypair_user_id FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE CASCADE,
	CONSTRAINT uq_keypair_apikey UNIQUE (apikey)
);

CREATE INDEX ix_keypair_user_id ON keypair (user_id);

CREATE TABLE launch_permission (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	template_id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	CONSTRAINT pk_launch_permission PRIMARY KEY (number),
	CONSTRAINT uq_launch_permission_template_id_account_id UNIQUE (template_id, account_id),
	CONSTRAINT uq_launch_permission_id UNIQUE (id),
	CONSTRAINT fk_launch_permission_template_id FOREIGN KEY(template_id) REFERENCES template (id) ON DELETE CASCADE,
	CONSTRAINT fk_launch_permission_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE
);

CREATE INDEX ix_launch_permission_account_id ON launch_permission (account_id);

CREATE INDEX ix_launch_permission_template_id ON launch_permission (template_id);

CREATE TABLE ldapconfiguration (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	hostname TEXT NOT NULL,
	port BIGINT NOT NULL,
	domain_id TEXT,
	CONSTRAINT pk_ldapconfiguration PRIMARY KEY (number),
	CONSTRAINT uq_ldapconfiguration_hostname_port_domain_id UNIQUE (hostname, port, domain_id),
	CONSTRAINT uq_ldapconfiguration_id UNIQUE (id),
	CONSTRAINT fk_ldapconfiguration_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id) ON DELETE CASCADE
);

CREATE INDEX ix_ldapconfiguration_domain_id ON ldapconfiguration (domain_id);

CREATE TABLE ldaplink (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	account_id TEXT,
	type TEXT NOT NULL,
	name TEXT NOT NULL,
	accounttype BIGINT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_ldaplink PRIMARY KEY (number),
	CONSTRAINT uq_ldaplink_domain_id_account_id UNIQUE (domain_id, account_id),
	CONSTRAINT uq_ldaplink_id UNIQUE (id),
	CONSTRAINT fk_ldaplink_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id) ON DELETE CASCADE,
	CONSTRAINT fk_ldaplink_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE
);

CREATE INDEX ix_ldaplink_account_id ON ldaplink (account_id);

CREATE INDEX ix_ldaplink_domain_id ON ldaplink (domain_id);

CREATE TABLE lease (
	name TEXT NOT NULL,
	owner TEXT NOT NULL,
	until FLOAT NOT NULL,
	CONSTRAINT pk_lease PRIMARY KEY (name)
);

CREATE TABLE link (
	guid TEXT NOT NULL,
	session TEXT NOT NULL,
	name TEXT NOT NULL,
	facts BYTEA NOT NULL,
	since FLOAT NOT NULL,
	CONSTRAINT pk_link PRIMARY KEY (guid)
);

CREATE INDEX ix_link_session ON link (session);

CREATE TABLE login_session (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	user_id TEXT NOT NULL,
	cookie_digest TEXT NOT NULL,
	key_digest TEXT NOT NULL,
	used FLOAT NOT NULL,
	verified BOOLEAN NOT NULL,
	proved FLOAT,
	created TEXT NOT NULL,
	CONSTRAINT pk_login_session PRIMARY KEY (number),
	CONSTRAINT uq_login_session_id UNIQUE (id),
	CONSTRAINT fk_login_session_user_id FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE CASCADE,
	CONSTRAINT uq_login_session_cookie_digest UNIQUE (cookie_digest)
);

CREATE INDEX ix_login_session_user_id ON login_session (user_id);

CREATE TABLE meter (
	machine_id TEXT NOT NULL,
	at FLOAT NOT NULL,
	cpu_seconds FLOAT NOT NULL,
	cpu_share FLOAT,
	memory BIGINT NOT NULL,
	received BIGINT NOT NULL,
	sent BIGINT NOT NULL,
	disk_read BIGINT NOT NULL,
	disk_written BIGINT NOT NULL,
	CONSTRAINT pk_meter PRIMARY KEY (machine_id),
	CONSTRAINT fk_meter_machine_id FOREIGN KEY(machine_id) REFERENCES virtualmachine (id) ON DELETE CASCADE
);

CREATE TABLE network (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	name TEXT NOT NULL,
	displaytext TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	network_offering_id TEXT NOT NULL,
	physical_network_id TEXT,
	traffic_type TEXT NOT NULL,
	type TEXT NOT NULL,
	state TEXT NOT NULL,
	cidr TEXT NOT NULL,
	gateway TEXT NOT NULL,
	netmask TEXT NOT NULL,
	start_ip TEXT,
	end_ip TEXT,
	tag BIGINT,
	chosen_tag BOOLEAN NOT NULL,
	networkdomain TEXT NOT NULL,
	dns1 TEXT,
	dns2 TEXT,
	display BOOLEAN NOT NULL,
	restart_required BOOLEAN NOT NULL,
	serial BIGINT NOT NULL,
	applied BIGINT NOT NULL,
	idle_since TEXT,
	externalid TEXT,
	created TEXT NOT NULL,
	CONSTRAINT pk_network PRIMARY KEY (number),
	CONSTRAINT uq_network_physical_network_id_tag UNIQUE (physical_network_id, tag),
	CONSTRAINT uq_network_id UNIQUE (id),
	CONSTRAINT fk_network_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_network_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_network_project_id FOREIGN KEY(project_id) REFERENCES project (id),
	CONSTRAINT fk_network_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_network_network_offering_id FOREIGN KEY(network_offering_id) REFERENCES networkoffering (id),
	CONSTRAINT fk_network_physical_network_id FOREIGN KEY(physical_network_id) REFERENCES physicalnetwork (id)
);

CREATE INDEX ix_network_account_id ON network (account_id);

CREATE INDEX ix_network_domain_id ON network (domain_id);

CREATE INDEX ix_network_network_offering_id ON network (network_offering_id);

CREATE INDEX ix_network_physical_network_id ON network (physical_network_id);

CREATE INDEX ix_network_project_id ON network (project_id);

CREATE INDEX ix_network_zone_id ON network (zone_id);

CREATE INDEX ix_network_zone_id_state ON network (zone_id, state);

CREATE TABLE networkoffering (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	displaytext TEXT NOT NULL,
	traffic_type TEXT NOT NULL,
	guest_ip_type TEXT NOT NULL,
	is_default BOOLEAN NOT NULL,
	state TEXT NOT NULL,
	availability TEXT NOT NULL,
	conserve_mode BOOLEAN NOT NULL,
	specify_vlan BOOLEAN NOT NULL,
	specify_ip_ranges BOOLEAN NOT NULL,
	is_persistent BOOLEAN NOT NULL,
	for_vpc BOOLEAN NOT NULL,
	egress_default_policy BOOLEAN NOT NULL,
	network_rate BIGINT,
	tags TEXT,
	services TEXT NOT NULL,
	domain_ids TEXT,
	zone_ids TEXT,
	details TEXT,
	sortkey BIGINT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_networkoffering PRIMARY KEY (number),
	CONSTRAINT uq_networkoffering_id UNIQUE (id),
	CONSTRAINT uq_networkoffering_name UNIQUE (name)
);

CREATE TABLE networkserviceprovider (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	physical_network_id TEXT NOT NULL,
	name TEXT NOT NULL,
	state TEXT NOT NULL,
	CONSTRAINT pk_networkserviceprovider PRIMARY KEY (number),
	CONSTRAINT uq_networkserviceprovider_physical_network_id_name UNIQUE (physical_network_id, name),
	CONSTRAINT uq_networkserviceprovider_id UNIQUE (id),
	CONSTRAINT fk_networkserviceprovider_physical_network_id FOREIGN KEY(physical_network_id) REFERENCES physicalnetwork (id) ON DELETE CASCADE
);

CREATE INDEX ix_networkserviceprovider_physical_network_id ON networkserviceprovider (physical_network_id);

CREATE TABLE nic (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	machine_id TEXT NOT NULL,
	network_id TEXT NOT NULL,
	ip TEXT NOT NULL,
	mac TEXT NOT NULL,
	host_name TEXT NOT NULL,
	device BIGINT NOT NULL,
	is_default BOOLEAN NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_nic PRIMARY KEY (number),
	CONSTRAINT uq_nic_network_id_ip UNIQUE (network_id, ip),
	CONSTRAINT uq_nic_network_id_mac UNIQUE (network_id, mac),
	CONSTRAINT uq_nic_network_id_host_name UNIQUE (network_id, host_name),
	CONSTRAINT uq_nic_id UNIQUE (id),
	CONSTRAINT fk_nic_machine_id FOREIGN KEY(machine_id) REFERENCES virtualmachine (id) ON DELETE CASCADE,
	CONSTRAINT fk_nic_network_id FOREIGN KEY(network_id) REFERENCES network (id)
);

CREATE INDEX ix_nic_machine_id ON nic (machine_id);

CREATE INDEX ix_nic_network_id ON nic (network_id);

CREATE TABLE oscategory (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	sortkey BIGINT NOT NULL,
	featured BOOLEAN NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_oscategory PRIMARY KEY (number),
	CONSTRAINT uq_oscategory_id UNIQUE (id),
	CONSTRAINT uq_oscategory_name UNIQUE (name)
);

CREATE TABLE ostype (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	oscategory_id TEXT NOT NULL,
	user_defined BOOLEAN NOT NULL,
	CONSTRAINT pk_ostype PRIMARY KEY (number),
	CONSTRAINT uq_ostype_id UNIQUE (id),
	CONSTRAINT uq_ostype_name UNIQUE (name),
	CONSTRAINT fk_ostype_oscategory_id FOREIGN KEY(oscategory_id) REFERENCES oscategory (id)
);

CREATE INDEX ix_ostype_oscategory_id ON ostype (oscategory_id);

CREATE TABLE password_reset (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	user_id TEXT NOT NULL,
	token_digest TEXT NOT NULL,
	until FLOAT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_password_reset PRIMARY KEY (number),
	CONSTRAINT uq_password_reset_id UNIQUE (id),
	CONSTRAINT uq_password_reset_user_id UNIQUE (user_id),
	CONSTRAINT fk_password_reset_user_id FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE CASCADE
);

CREATE TABLE physicalnetwork (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	name TEXT NOT NULL,
	domain_id TEXT,
	isolation_methods TEXT NOT NULL,
	broadcastdomainrange TEXT NOT NULL,
	vlan TEXT NOT NULL,
	networkspeed TEXT,
	tags TEXT,
	state TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_physicalnetwork PRIMARY KEY (number),
	CONSTRAINT uq_physicalnetwork_zone_id_name UNIQUE (zone_id, name),
	CONSTRAINT uq_physicalnetwork_id UNIQUE (id),
	CONSTRAINT fk_physicalnetwork_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id)
);

CREATE INDEX ix_physicalnetwork_zone_id ON physicalnetwork (zone_id);

CREATE TABLE placed (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	template_id TEXT NOT NULL,
	pool_id TEXT NOT NULL,
	state TEXT NOT NULL,
	size BIGINT NOT NULL,
	CONSTRAINT pk_placed PRIMARY KEY (number),
	CONSTRAINT uq_placed_template_id_pool_id UNIQUE (template_id, pool_id),
	CONSTRAINT uq_placed_id UNIQUE (id),
	CONSTRAINT fk_placed_template_id FOREIGN KEY(template_id) REFERENCES template (id) ON DELETE CASCADE,
	CONSTRAINT fk_placed_pool_id FOREIGN KEY(pool_id) REFERENCES storagepool (id) ON DELETE CASCADE
);

CREATE INDEX ix_placed_pool_id ON placed (pool_id);

CREATE INDEX ix_placed_template_id ON placed (template_id);

CREATE TABLE pod (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	name TEXT NOT NULL,
	gateway TEXT NOT NULL,
	netmask TEXT NOT NULL,
	start_ip TEXT NOT NULL,
	end_ip TEXT NOT NULL,
	allocation_state TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_pod PRIMARY KEY (number),
	CONSTRAINT uq_pod_zone_id_name UNIQUE (zone_id, name),
	CONSTRAINT uq_pod_id UNIQUE (id),
	CONSTRAINT fk_pod_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id)
);

CREATE INDEX ix_pod_zone_id ON pod (zone_id);

CREATE TABLE project (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	displaytext TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_account_id TEXT NOT NULL,
	state TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_project PRIMARY KEY (number),
	CONSTRAINT uq_project_domain_id_name UNIQUE (domain_id, name),
	CONSTRAINT uq_project_id UNIQUE (id),
	CONSTRAINT fk_project_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_project_project_account_id FOREIGN KEY(project_account_id) REFERENCES account (id)
);

CREATE INDEX ix_project_domain_id ON project (domain_id);

CREATE INDEX ix_project_project_account_id ON project (project_account_id);

CREATE TABLE project_member (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	project_id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	user_id TEXT,
	who TEXT NOT NULL,
	role TEXT NOT NULL,
	project_role_id TEXT,
	CONSTRAINT pk_project_member PRIMARY KEY (number),
	CONSTRAINT uq_project_member_project_id_who UNIQUE (project_id, who),
	CONSTRAINT uq_project_member_id UNIQUE (id),
	CONSTRAINT fk_project_member_project_id FOREIGN KEY(project_id) REFERENCES project (id) ON DELETE CASCADE,
	CONSTRAINT fk_project_member_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE,
	CONSTRAINT fk_project_member_user_id FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE CASCADE,
	CONSTRAINT fk_project_member_project_role_id FOREIGN KEY(project_role_id) REFERENCES projectrole (id)
);

CREATE INDEX ix_project_member_account_id ON project_member (account_id);

CREATE INDEX ix_project_member_project_id ON project_member (project_id);

CREATE INDEX ix_project_member_project_role_id ON project_member (project_role_id);

CREATE INDEX ix_project_member_user_id ON project_member (user_id);

CREATE TABLE projectinvitation (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	project_id TEXT NOT NULL,
	account_id TEXT,
	user_id TEXT,
	domain_id TEXT NOT NULL,
	email TEXT,
	role TEXT NOT NULL,
	project_role_id TEXT,
	token_digest TEXT,
	state TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_projectinvitation PRIMARY KEY (number),
	CONSTRAINT uq_projectinvitation_id UNIQUE (id),
	CONSTRAINT fk_projectinvitation_project_id FOREIGN KEY(project_id) REFERENCES project (id) ON DELETE CASCADE,
	CONSTRAINT fk_projectinvitation_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE,
	CONSTRAINT fk_projectinvitation_user_id FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE CASCADE,
	CONSTRAINT fk_projectinvitation_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_projectinvitation_project_role_id FOREIGN KEY(project_role_id) REFERENCES projectrole (id) ON DELETE CASCADE,
	CONSTRAINT uq_projectinvitation_token_digest UNIQUE (token_digest)
);

CREATE INDEX ix_projectinvitation_account_id ON projectinvitation (account_id);

CREATE INDEX ix_projectinvitation_domain_id ON projectinvitation (domain_id);

CREATE INDEX ix_projectinvitation_project_id ON projectinvitation (project_id);

CREATE INDEX ix_projectinvitation_project_role_id ON projectinvitation (project_role_id);

CREATE INDEX ix_projectinvitation_user_id ON projectinvitation (user_id);

CREATE TABLE projectrole (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	project_id TEXT NOT NULL,
	name TEXT NOT NULL,
	description TEXT,
	CONSTRAINT pk_projectrole PRIMARY KEY (number),
	CONSTRAINT uq_projectrole_project_id_name UNIQUE (project_id, name),
	CONSTRAINT uq_projectrole_id UNIQUE (id),
	CONSTRAINT fk_projectrole_project_id FOREIGN KEY(project_id) REFERENCES project (id) ON DELETE CASCADE
);

CREATE INDEX ix_projectrole_project_id ON projectrole (project_id);

CREATE TABLE projectrolepermission (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	project_id TEXT NOT NULL,
	project_role_id TEXT NOT NULL,
	rule TEXT NOT NULL,
	permission TEXT NOT NULL,
	description TEXT,
	position BIGINT NOT NULL,
	CONSTRAINT pk_projectrolepermission PRIMARY KEY (number),
	CONSTRAINT uq_projectrolepermission_id UNIQUE (id),
	CONSTRAINT fk_projectrolepermission_project_id FOREIGN KEY(project_id) REFERENCES project (id) ON DELETE CASCADE,
	CONSTRAINT fk_projectrolepermission_project_role_id FOREIGN KEY(project_role_id) REFERENCES projectrole (id) ON DELETE CASCADE
);

CREATE INDEX ix_projectrolepermission_project_id ON projectrolepermission (project_id);

CREATE INDEX ix_projectrolepermission_project_role_id ON projectrolepermission (project_role_id);

CREATE INDEX ix_projectrolepermission_project_role_id_position ON projectrolepermission (project_role_id, position);

CREATE TABLE pulse (
	guid TEXT NOT NULL,
	at FLOAT NOT NULL,
	cpu FLOAT NOT NULL,
	load FLOAT NOT NULL,
	memory_used BIGINT NOT NULL,
	received BIGINT NOT NULL,
	sent BIGINT NOT NULL,
	CONSTRAINT pk_pulse PRIMARY KEY (guid)
);

CREATE TABLE resourcedetail (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	key TEXT NOT NULL,
	value TEXT NOT NULL,
	display BOOLEAN NOT NULL,
	resource_kind TEXT NOT NULL,
	resource_id TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_resourcedetail PRIMARY KEY (number),
	CONSTRAINT uq_resourcedetail_resource_kind_resource_id_key UNIQUE (resource_kind, resource_id, key),
	CONSTRAINT uq_resourcedetail_id UNIQUE (id),
	CONSTRAINT fk_resourcedetail_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_resourcedetail_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_resourcedetail_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);

CREATE INDEX ix_resourcedetail_account_id ON resourcedetail (account_id);

CREATE INDEX ix_resourcedetail_domain_id ON resourcedetail (domain_id);

CREATE INDEX ix_resourcedetail_project_id ON resourcedetail (project_id);

CREATE INDEX ix_resourcedetail_resource_id ON resourcedetail (resource_id);

CREATE TABLE resourceicon (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	resource_kind TEXT NOT NULL,
	resource_id TEXT NOT NULL,
	image TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_resourceicon PRIMARY KEY (number),
	CONSTRAINT uq_resourceicon_resource_kind_resource_id UNIQUE (resource_kind, resource_id),
	CONSTRAINT uq_resourceicon_id UNIQUE (id)
);

CREATE TABLE role (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	role_type TEXT NOT NULL,
	description TEXT,
	state TEXT NOT NULL,
	isdefault BOOLEAN NOT NULL,
	ispublic BOOLEAN NOT NULL,
	CONSTRAINT pk_role PRIMARY KEY (number),
	CONSTRAINT uq_role_name UNIQUE (name),
	CONSTRAINT uq_role_id UNIQUE (id)
);

CREATE TABLE rolepermission (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	role_id TEXT NOT NULL,
	rule TEXT NOT NULL,
	permission TEXT NOT NULL,
	description TEXT,
	position BIGINT NOT NULL,
	CONSTRAINT pk_rolepermission PRIMARY KEY (number),
	CONSTRAINT uq_rolepermission_id UNIQUE (id),
	CONSTRAINT fk_rolepermission_role_id FOREIGN KEY(role_id) REFERENCES role (id) ON DELETE CASCADE
);

CREATE INDEX ix_rolepermission_role_id ON rolepermission (role_id);

CREATE INDEX ix_rolepermission_role_id_position ON rolepermission (role_id, position);

CREATE TABLE router (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	network_id TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	host_id TEXT NOT NULL,
	address_id TEXT,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	mac TEXT NOT NULL,
	public_mac TEXT NOT NULL,
	state TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_router PRIMARY KEY (number),
	CONSTRAINT uq_router_id UNIQUE (id),
	CONSTRAINT uq_router_network_id UNIQUE (network_id),
	CONSTRAINT fk_router_network_id FOREIGN KEY(network_id) REFERENCES network (id),
	CONSTRAINT fk_router_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_router_host_id FOREIGN KEY(host_id) REFERENCES host (id),
	CONSTRAINT fk_router_address_id FOREIGN KEY(address_id) REFERENCES address (id),
	CONSTRAINT fk_router_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_router_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id)
);

CREATE INDEX ix_router_account_id ON router (account_id);

CREATE INDEX ix_router_address_id ON router (address_id);

CREATE INDEX ix_router_domain_id ON router (domain_id);

CREATE INDEX ix_router_host_id ON router (host_id);

CREATE INDEX ix_router_zone_id ON router (zone_id);

CREATE TABLE samlauthorization (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	user_id TEXT NOT NULL,
	idpid TEXT NOT NULL,
	status BOOLEAN NOT NULL,
	CONSTRAINT pk_samlauthorization PRIMARY KEY (number),
	CONSTRAINT uq_samlauthorization_id UNIQUE (id),
	CONSTRAINT uq_samlauthorization_user_id UNIQUE (user_id),
	CONSTRAINT fk_samlauthorization_user_id FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE CASCADE
);

CREATE TABLE samlkey (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	"only" BIGINT NOT NULL,
	key TEXT NOT NULL,
	certificate TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_samlkey PRIMARY KEY (number),
	CONSTRAINT uq_samlkey_id UNIQUE (id),
	CONSTRAINT uq_samlkey_only UNIQUE ("only")
);

CREATE TABLE samlmetadata (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	url TEXT NOT NULL,
	text TEXT NOT NULL,
	tried FLOAT NOT NULL,
	failed TEXT NOT NULL,
	CONSTRAINT pk_samlmetadata PRIMARY KEY (number),
	CONSTRAINT uq_samlmetadata_id UNIQUE (id),
	CONSTRAINT uq_samlmetadata_url UNIQUE (url)
);

CREATE TABLE samlrequest (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	request TEXT NOT NULL,
	idpid TEXT NOT NULL,
	domain_id TEXT,
	browser TEXT NOT NULL,
	until FLOAT NOT NULL,
	CONSTRAINT pk_samlrequest PRIMARY KEY (number),
	CONSTRAINT uq_samlrequest_id UNIQUE (id),
	CONSTRAINT uq_samlrequest_request UNIQUE (request),
	CONSTRAINT fk_samlrequest_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id) ON DELETE CASCADE
);

CREATE INDEX ix_samlrequest_domain_id ON samlrequest (domain_id);

CREATE INDEX ix_samlrequest_until ON samlrequest (until);

CREATE TABLE samlsession (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	session_id TEXT NOT NULL,
	idpid TEXT NOT NULL,
	username TEXT NOT NULL,
	name_id TEXT NOT NULL,
	name_format TEXT NOT NULL,
	session_index TEXT NOT NULL,
	CONSTRAINT pk_samlsession PRIMARY KEY (number),
	CONSTRAINT uq_samlsession_id UNIQUE (id),
	CONSTRAINT uq_samlsession_session_id UNIQUE (session_id),
	CONSTRAINT fk_samlsession_session_id FOREIGN KEY(session_id) REFERENCES login_session (id) ON DELETE CASCADE
);

CREATE TABLE second_factor (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	user_id TEXT NOT NULL,
	provider TEXT NOT NULL,
	secret TEXT,
	pending TEXT,
	last_period BIGINT NOT NULL,
	wrong BIGINT NOT NULL,
	paused FLOAT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_second_factor PRIMARY KEY (number),
	CONSTRAINT uq_second_factor_id UNIQUE (id),
	CONSTRAINT uq_second_factor_user_id UNIQUE (user_id),
	CONSTRAINT fk_second_factor_user_id FOREIGN KEY(user_id) REFERENCES "user" (id) ON DELETE CASCADE
);

CREATE TABLE serviceoffering (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	displaytext TEXT NOT NULL,
	cpunumber BIGINT,
	cpuspeed BIGINT,
	memory BIGINT,
	is_customized BOOLEAN NOT NULL,
	limits TEXT,
	offer_ha BOOLEAN NOT NULL,
	limit_cpu_use BOOLEAN NOT NULL,
	is_volatile BOOLEAN NOT NULL,
	storage_type TEXT NOT NULL,
	provisioning_type TEXT NOT NULL,
	root_disk_size BIGINT,
	storage_tags TEXT,
	host_tags TEXT,
	network_rate BIGINT,
	deployment_planner TEXT,
	cache_mode TEXT NOT NULL,
	bytesreadrate BIGINT,
	byteswriterate BIGINT,
	iopsreadrate BIGINT,
	iopswriterate BIGINT,
	is_system BOOLEAN NOT NULL,
	system_vm_type TEXT,
	default_use BOOLEAN NOT NULL,
	dynamic_scaling_enabled BOOLEAN NOT NULL,
	state TEXT NOT NULL,
	domain_ids TEXT,
	zone_ids TEXT,
	serviceofferingdetails TEXT,
	sortkey BIGINT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_serviceoffering PRIMARY KEY (number),
	CONSTRAINT uq_serviceoffering_id UNIQUE (id)
);

CREATE TABLE session (
	id TEXT NOT NULL,
	manager TEXT NOT NULL,
	address TEXT NOT NULL,
	started TEXT NOT NULL,
	until FLOAT NOT NULL,
	CONSTRAINT pk_session PRIMARY KEY (id)
);

CREATE TABLE setting (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	scope TEXT NOT NULL,
	scope_id TEXT NOT NULL,
	value TEXT NOT NULL,
	changed TEXT,
	changed_by TEXT,
	before TEXT,
	CONSTRAINT pk_setting PRIMARY KEY (number),
	CONSTRAINT uq_setting_name_scope_scope_id UNIQUE (name, scope, scope_id),
	CONSTRAINT uq_setting_id UNIQUE (id)
);

CREATE TABLE spent (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	digest TEXT NOT NULL,
	until FLOAT NOT NULL,
	CONSTRAINT pk_spent PRIMARY KEY (number),
	CONSTRAINT uq_spent_id UNIQUE (id),
	CONSTRAINT uq_spent_digest UNIQUE (digest)
);

CREATE INDEX ix_spent_until ON spent (until);

CREATE TABLE sshkeypair (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	name TEXT NOT NULL,
	fingerprint TEXT NOT NULL,
	publickey TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_sshkeypair PRIMARY KEY (number),
	CONSTRAINT uq_sshkeypair_account_id_name UNIQUE (account_id, name),
	CONSTRAINT uq_sshkeypair_id UNIQUE (id),
	CONSTRAINT fk_sshkeypair_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_sshkeypair_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_sshkeypair_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);

CREATE INDEX ix_sshkeypair_account_id ON sshkeypair (account_id);

CREATE INDEX ix_sshkeypair_domain_id ON sshkeypair (domain_id);

CREATE INDEX ix_sshkeypair_project_id ON sshkeypair (project_id);

CREATE TABLE storagepool (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	pod_id TEXT,
	cluster_id TEXT,
	host_id TEXT,
	name TEXT NOT NULL,
	type TEXT NOT NULL,
	scope TEXT NOT NULL,
	path TEXT NOT NULL,
	ip_address TEXT NOT NULL,
	hypervisor TEXT NOT NULL,
	provider TEXT NOT NULL,
	tags TEXT,
	state TEXT NOT NULL,
	disk_size_total BIGINT NOT NULL,
	disk_size_used BIGINT NOT NULL,
	reserved BIGINT NOT NULL,
	capacity_iops BIGINT,
	details TEXT,
	created TEXT NOT NULL,
	CONSTRAINT pk_storagepool PRIMARY KEY (number),
	CONSTRAINT uq_storagepool_zone_id_name UNIQUE (zone_id, name),
	CONSTRAINT uq_storagepool_id UNIQUE (id),
	CONSTRAINT fk_storagepool_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_storagepool_pod_id FOREIGN KEY(pod_id) REFERENCES pod (id),
	CONSTRAINT fk_storagepool_cluster_id FOREIGN KEY(cluster_id) REFERENCES cluster (id),
	CONSTRAINT fk_storagepool_host_id FOREIGN KEY(host_id) REFERENCES host (id)
);

CREATE INDEX ix_storagepool_cluster_id ON storagepool (cluster_id);

CREATE INDEX ix_storagepool_host_id ON storagepool (host_id);

CREATE INDEX ix_storagepool_pod_id ON storagepool (pod_id);

CREATE INDEX ix_storagepool_zone_id ON storagepool (zone_id);

CREATE TABLE tag (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	key TEXT NOT NULL,
	value TEXT NOT NULL,
	customer TEXT,
	resource_kind TEXT NOT NULL,
	resource_id TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_tag PRIMARY KEY (number),
	CONSTRAINT uq_tag_resource_kind_resource_id_key UNIQUE (resource_kind, resource_id, key),
	CONSTRAINT uq_tag_id UNIQUE (id),
	CONSTRAINT fk_tag_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_tag_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_tag_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);

CREATE INDEX ix_tag_account_id ON tag (account_id);

CREATE INDEX ix_tag_domain_id ON tag (domain_id);

CREATE INDEX ix_tag_project_id ON tag (project_id);

CREATE INDEX ix_tag_resource_id ON tag (resource_id);

CREATE TABLE template (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	name TEXT NOT NULL,
	displaytext TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	store_id TEXT NOT NULL,
	os_type_id TEXT,
	hypervisor TEXT NOT NULL,
	format TEXT NOT NULL,
	url TEXT,
	checksum TEXT,
	size BIGINT NOT NULL,
	physical_size BIGINT NOT NULL,
	state TEXT NOT NULL,
	status TEXT NOT NULL,
	is_public BOOLEAN NOT NULL,
	is_featured BOOLEAN NOT NULL,
	is_extractable BOOLEAN NOT NULL,
	password_enabled BOOLEAN NOT NULL,
	sshkey_enabled BOOLEAN NOT NULL,
	requires_hvm BOOLEAN NOT NULL,
	bootable BOOLEAN NOT NULL,
	is_dynamically_scalable BOOLEAN NOT NULL,
	bits BIGINT NOT NULL,
	arch TEXT NOT NULL,
	template_type TEXT NOT NULL,
	templatetag TEXT,
	details TEXT,
	userdata_id TEXT,
	userdata_policy TEXT,
	sortkey BIGINT NOT NULL,
	sent_bytes BIGINT NOT NULL,
	sent_length BIGINT NOT NULL,
	sent_at TEXT,
	created TEXT NOT NULL,
	CONSTRAINT pk_template PRIMARY KEY (number),
	CONSTRAINT uq_template_id UNIQUE (id),
	CONSTRAINT fk_template_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_template_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_template_project_id FOREIGN KEY(project_id) REFERENCES project (id),
	CONSTRAINT fk_template_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_template_store_id FOREIGN KEY(store_id) REFERENCES imagestore (id),
	CONSTRAINT fk_template_os_type_id FOREIGN KEY(os_type_id) REFERENCES ostype (id)
);

CREATE INDEX ix_template_account_id ON template (account_id);

CREATE INDEX ix_template_domain_id ON template (domain_id);

CREATE INDEX ix_template_os_type_id ON template (os_type_id);

CREATE INDEX ix_template_project_id ON template (project_id);

CREATE INDEX ix_template_store_id ON template (store_id);

CREATE INDEX ix_template_zone_id ON template (zone_id);

CREATE TABLE traffictype (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	physical_network_id TEXT NOT NULL,
	traffic_type TEXT NOT NULL,
	kvm_network_label TEXT,
	isolation_methods TEXT,
	vlan TEXT,
	CONSTRAINT pk_traffictype PRIMARY KEY (number),
	CONSTRAINT uq_traffictype_physical_network_id_traffic_type UNIQUE (physical_network_id, traffic_type),
	CONSTRAINT uq_traffictype_id UNIQUE (id),
	CONSTRAINT fk_traffictype_physical_network_id FOREIGN KEY(physical_network_id) REFERENCES physicalnetwork (id)
);

CREATE INDEX ix_traffictype_physical_network_id ON traffictype (physical_network_id);

CREATE TABLE usage_count (
	owner TEXT NOT NULL,
	resource TEXT NOT NULL,
	used BIGINT DEFAULT '0' NOT NULL,
	most BIGINT,
	CONSTRAINT pk_usage_count PRIMARY KEY (owner, resource)
);

CREATE TABLE usageevent (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	type TEXT NOT NULL,
	meter BIGINT NOT NULL,
	opens BOOLEAN NOT NULL,
	after BIGINT NOT NULL,
	at TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	zone_id TEXT,
	resource_id TEXT NOT NULL,
	resource_name TEXT,
	offering_id TEXT,
	template_id TEXT,
	size BIGINT,
	cpu_number BIGINT,
	cpu_speed BIGINT,
	memory BIGINT,
	source_nat BOOLEAN,
	CONSTRAINT pk_usageevent PRIMARY KEY (number),
	CONSTRAINT uq_usageevent_resource_id_meter_after UNIQUE (resource_id, meter, after),
	CONSTRAINT uq_usageevent_id UNIQUE (id)
);

CREATE INDEX ix_usageevent_at ON usageevent (at);

CREATE INDEX ix_usageevent_resource_id_meter_number ON usageevent (resource_id, meter, number);

CREATE TABLE usagerecord (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	zone_id TEXT,
	usage_type BIGINT NOT NULL,
	raw FLOAT NOT NULL,
	resource_id TEXT NOT NULL,
	name TEXT,
	offering_id TEXT NOT NULL,
	template_id TEXT,
	size BIGINT NOT NULL,
	cpu_number BIGINT,
	cpu_speed BIGINT,
	memory BIGINT,
	source_nat BOOLEAN,
	start TEXT NOT NULL,
	"end" TEXT NOT NULL,
	CONSTRAINT pk_usagerecord PRIMARY KEY (number),
	CONSTRAINT uq_usagerecord_usage_type_resource_id_offering_id_start_size UNIQUE (usage_type, resource_id, offering_id, start, size),
	CONSTRAINT uq_usagerecord_id UNIQUE (id)
);

CREATE INDEX ix_usagerecord_account_id ON usagerecord (account_id);

CREATE INDEX ix_usagerecord_domain_id ON usagerecord (domain_id);

CREATE INDEX ix_usagerecord_project_id ON usagerecord (project_id);

CREATE INDEX ix_usagerecord_start_account_id ON usagerecord (start, account_id);

CREATE TABLE "user" (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	username TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	password_hash TEXT NOT NULL,
	firstname TEXT NOT NULL,
	lastname TEXT NOT NULL,
	email TEXT NOT NULL,
	timezone TEXT,
	state TEXT NOT NULL,
	failed_logins BIGINT NOT NULL,
	source TEXT NOT NULL,
	apikey_access TEXT NOT NULL,
	mandate_2fa BOOLEAN NOT NULL,
	change_password BOOLEAN NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_user PRIMARY KEY (number),
	CONSTRAINT uq_user_domain_id_username UNIQUE (domain_id, username),
	CONSTRAINT uq_user_id UNIQUE (id),
	CONSTRAINT fk_user_account_id FOREIGN KEY(account_id) REFERENCES account (id) ON DELETE CASCADE,
	CONSTRAINT fk_user_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id)
);

CREATE INDEX ix_user_account_id ON "user" (account_id);

CREATE INDEX ix_user_domain_id ON "user" (domain_id);

CREATE TABLE userdata (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	name TEXT NOT NULL,
	userdata TEXT NOT NULL,
	params TEXT,
	created TEXT NOT NULL,
	CONSTRAINT pk_userdata PRIMARY KEY (number),
	CONSTRAINT uq_userdata_account_id_name UNIQUE (account_id, name),
	CONSTRAINT uq_userdata_id UNIQUE (id),
	CONSTRAINT fk_userdata_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_userdata_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_userdata_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);

CREATE INDEX ix_userdata_account_id ON userdata (account_id);

CREATE INDEX ix_userdata_domain_id ON userdata (domain_id);

CREATE INDEX ix_userdata_project_id ON userdata (project_id);

CREATE TABLE virtualmachine (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	name TEXT NOT NULL,
	display_name TEXT NOT NULL,
	instance_name TEXT,
	user_id TEXT,
	zone_id TEXT NOT NULL,
	pod_id TEXT,
	host_id TEXT,
	last_host_id TEXT,
	service_offering_id TEXT NOT NULL,
	template_id TEXT NOT NULL,
	os_type_id TEXT,
	userdata_id TEXT,
	hypervisor TEXT NOT NULL,
	arch TEXT NOT NULL,
	state TEXT NOT NULL,
	cpu_number BIGINT NOT NULL,
	cpu_speed BIGINT NOT NULL,
	memory BIGINT NOT NULL,
	host_tags TEXT,
	planner TEXT,
	ha_enabled BOOLEAN NOT NULL,
	is_dynamically_scalable BOOLEAN NOT NULL,
	password_enabled BOOLEAN NOT NULL,
	password TEXT,
	password_serial TEXT NOT NULL,
	vnc_password TEXT NOT NULL,
	userdata TEXT,
	userdata_details TEXT,
	keypairs TEXT,
	publickeys TEXT,
	"group" TEXT,
	details TEXT,
	display BOOLEAN NOT NULL,
	delete_protection BOOLEAN NOT NULL,
	boot_type TEXT NOT NULL,
	boot_mode TEXT NOT NULL,
	keyboard TEXT,
	fresh BOOLEAN NOT NULL,
	state_since TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_virtualmachine PRIMARY KEY (number),
	CONSTRAINT uq_virtualmachine_id UNIQUE (id),
	CONSTRAINT fk_virtualmachine_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_virtualmachine_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_virtualmachine_project_id FOREIGN KEY(project_id) REFERENCES project (id),
	CONSTRAINT fk_virtualmachine_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_virtualmachine_host_id FOREIGN KEY(host_id) REFERENCES host (id),
	CONSTRAINT fk_virtualmachine_service_offering_id FOREIGN KEY(service_offering_id) REFERENCES serviceoffering (id),
	CONSTRAINT fk_virtualmachine_template_id FOREIGN KEY(template_id) REFERENCES template (id),
	CONSTRAINT fk_virtualmachine_os_type_id FOREIGN KEY(os_type_id) REFERENCES ostype (id),
	CONSTRAINT fk_virtualmachine_userdata_id FOREIGN KEY(userdata_id) REFERENCES userdata (id)
);

CREATE INDEX ix_virtualmachine_account_id ON virtualmachine (account_id);

CREATE INDEX ix_virtualmachine_account_id_state ON virtualmachine (account_id, state);

CREATE INDEX ix_virtualmachine_domain_id ON virtualmachine (domain_id);

CREATE INDEX ix_virtualmachine_host_id ON virtualmachine (host_id);

CREATE INDEX ix_virtualmachine_instance_name ON virtualmachine (instance_name);

CREATE INDEX ix_virtualmachine_os_type_id ON virtualmachine (os_type_id);

CREATE INDEX ix_virtualmachine_project_id ON virtualmachine (project_id);

CREATE INDEX ix_virtualmachine_service_offering_id ON virtualmachine (service_offering_id);

CREATE INDEX ix_virtualmachine_state_host_id ON virtualmachine (state, host_id);

CREATE INDEX ix_virtualmachine_template_id ON virtualmachine (template_id);

CREATE INDEX ix_virtualmachine_userdata_id ON virtualmachine (userdata_id);

CREATE INDEX ix_virtualmachine_zone_id ON virtualmachine (zone_id);

CREATE INDEX ix_virtualmachine_zone_id_state ON virtualmachine (zone_id, state);

CREATE TABLE virtualrouterelement (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	nsp_id TEXT NOT NULL,
	enabled BOOLEAN NOT NULL,
	CONSTRAINT pk_virtualrouterelement PRIMARY KEY (number),
	CONSTRAINT uq_virtualrouterelement_nsp_id UNIQUE (nsp_id),
	CONSTRAINT uq_virtualrouterelement_id UNIQUE (id),
	CONSTRAINT fk_virtualrouterelement_nsp_id FOREIGN KEY(nsp_id) REFERENCES networkserviceprovider (id) ON DELETE CASCADE
);

CREATE INDEX ix_virtualrouterelement_nsp_id ON virtualrouterelement (nsp_id);

CREATE TABLE vlaniprange (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	physical_network_id TEXT NOT NULL,
	vlan TEXT NOT NULL,
	gateway TEXT NOT NULL,
	netmask TEXT NOT NULL,
	start_ip TEXT NOT NULL,
	end_ip TEXT NOT NULL,
	account_id TEXT,
	domain_id TEXT,
	forsystemvms BOOLEAN NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_vlaniprange PRIMARY KEY (number),
	CONSTRAINT uq_vlaniprange_id UNIQUE (id),
	CONSTRAINT fk_vlaniprange_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_vlaniprange_physical_network_id FOREIGN KEY(physical_network_id) REFERENCES physicalnetwork (id),
	CONSTRAINT fk_vlaniprange_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_vlaniprange_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id)
);

CREATE INDEX ix_vlaniprange_account_id ON vlaniprange (account_id);

CREATE INDEX ix_vlaniprange_domain_id ON vlaniprange (domain_id);

CREATE INDEX ix_vlaniprange_physical_network_id ON vlaniprange (physical_network_id);

CREATE INDEX ix_vlaniprange_zone_id ON vlaniprange (zone_id);

CREATE TABLE volume (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	name TEXT NOT NULL,
	zone_id TEXT NOT NULL,
	type TEXT NOT NULL,
	device BIGINT NOT NULL,
	size BIGINT NOT NULL,
	state TEXT NOT NULL,
	pool_id TEXT,
	path TEXT,
	physical_size BIGINT NOT NULL,
	format TEXT NOT NULL,
	template_id TEXT,
	disk_offering_id TEXT,
	service_offering_id TEXT,
	storage_tags TEXT,
	provisioning_type TEXT NOT NULL,
	hypervisor TEXT NOT NULL,
	display BOOLEAN NOT NULL,
	attached TEXT,
	state_since TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_volume PRIMARY KEY (number),
	CONSTRAINT uq_volume_id UNIQUE (id),
	CONSTRAINT fk_volume_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_volume_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_volume_project_id FOREIGN KEY(project_id) REFERENCES project (id),
	CONSTRAINT fk_volume_zone_id FOREIGN KEY(zone_id) REFERENCES zone (id),
	CONSTRAINT fk_volume_pool_id FOREIGN KEY(pool_id) REFERENCES storagepool (id),
	CONSTRAINT fk_volume_template_id FOREIGN KEY(template_id) REFERENCES template (id),
	CONSTRAINT fk_volume_disk_offering_id FOREIGN KEY(disk_offering_id) REFERENCES diskoffering (id),
	CONSTRAINT fk_volume_service_offering_id FOREIGN KEY(service_offering_id) REFERENCES serviceoffering (id)
);

CREATE INDEX ix_volume_account_id ON volume (account_id);

CREATE INDEX ix_volume_disk_offering_id ON volume (disk_offering_id);

CREATE INDEX ix_volume_domain_id ON volume (domain_id);

CREATE INDEX ix_volume_pool_id ON volume (pool_id);

CREATE INDEX ix_volume_project_id ON volume (project_id);

CREATE INDEX ix_volume_service_offering_id ON volume (service_offering_id);

CREATE INDEX ix_volume_template_id ON volume (template_id);

CREATE INDEX ix_volume_zone_id ON volume (zone_id);

CREATE TABLE webcertificate (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	place BIGINT NOT NULL,
	certificate TEXT NOT NULL,
	privatekey TEXT,
	domain_suffix TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_webcertificate PRIMARY KEY (number),
	CONSTRAINT uq_webcertificate_name UNIQUE (name),
	CONSTRAINT uq_webcertificate_id UNIQUE (id)
);

CREATE TABLE webhook (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	name TEXT NOT NULL,
	description TEXT,
	state TEXT NOT NULL,
	payload_url TEXT NOT NULL,
	secret TEXT,
	verify BOOLEAN NOT NULL,
	scope TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_webhook PRIMARY KEY (number),
	CONSTRAINT uq_webhook_account_id_name UNIQUE (account_id, name),
	CONSTRAINT uq_webhook_id UNIQUE (id),
	CONSTRAINT fk_webhook_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_webhook_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_webhook_project_id FOREIGN KEY(project_id) REFERENCES project (id)
);

CREATE INDEX ix_webhook_account_id ON webhook (account_id);

CREATE INDEX ix_webhook_domain_id ON webhook (domain_id);

CREATE INDEX ix_webhook_project_id ON webhook (project_id);

CREATE TABLE webhookdelivery (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	account_id TEXT NOT NULL,
	domain_id TEXT NOT NULL,
	project_id TEXT,
	webhook_id TEXT,
	event_id TEXT,
	event_type TEXT NOT NULL,
	payload TEXT NOT NULL,
	headers TEXT NOT NULL,
	success BOOLEAN NOT NULL,
	response TEXT NOT NULL,
	manager TEXT,
	url TEXT,
	secret TEXT,
	verify BOOLEAN NOT NULL,
	tries BIGINT NOT NULL,
	after FLOAT,
	created TEXT NOT NULL,
	ended TEXT,
	CONSTRAINT pk_webhookdelivery PRIMARY KEY (number),
	CONSTRAINT uq_webhookdelivery_id UNIQUE (id),
	CONSTRAINT fk_webhookdelivery_account_id FOREIGN KEY(account_id) REFERENCES account (id),
	CONSTRAINT fk_webhookdelivery_domain_id FOREIGN KEY(domain_id) REFERENCES domain (id),
	CONSTRAINT fk_webhookdelivery_project_id FOREIGN KEY(project_id) REFERENCES project (id),
	CONSTRAINT fk_webhookdelivery_webhook_id FOREIGN KEY(webhook_id) REFERENCES webhook (id) ON DELETE CASCADE
);

CREATE INDEX ix_webhookdelivery_account_id ON webhookdelivery (account_id);

CREATE INDEX ix_webhookdelivery_after_webhook_id ON webhookdelivery (after, webhook_id);

CREATE INDEX ix_webhookdelivery_domain_id ON webhookdelivery (domain_id);

CREATE INDEX ix_webhookdelivery_project_id ON webhookdelivery (project_id);

CREATE INDEX ix_webhookdelivery_webhook_id ON webhookdelivery (webhook_id);

CREATE INDEX ix_webhookdelivery_webhook_id_number ON webhookdelivery (webhook_id, number);

CREATE TABLE webhookfilter (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	webhook_id TEXT NOT NULL,
	type TEXT NOT NULL,
	mode TEXT NOT NULL,
	match TEXT NOT NULL,
	value TEXT NOT NULL,
	created TEXT NOT NULL,
	CONSTRAINT pk_webhookfilter PRIMARY KEY (number),
	CONSTRAINT uq_webhookfilter_webhook_id_mode_match_value UNIQUE (webhook_id, mode, match, value),
	CONSTRAINT uq_webhookfilter_id UNIQUE (id),
	CONSTRAINT fk_webhookfilter_webhook_id FOREIGN KEY(webhook_id) REFERENCES webhook (id) ON DELETE CASCADE
);

CREATE INDEX ix_webhookfilter_webhook_id ON webhookfilter (webhook_id);

CREATE TABLE zone (
	number BIGSERIAL NOT NULL,
	id TEXT NOT NULL,
	name TEXT NOT NULL,
	dns1 TEXT NOT NULL,
	dns2 TEXT,
	ip6dns1 TEXT,
	ip6dns2 TEXT,
	internaldns1 TEXT NOT NULL,
	internaldns2 TEXT,
	guestcidraddress TEXT,
	networktype TEXT NOT NULL,
	domain TEXT,
	domain_ids TEXT,
	allocation_state TEXT NOT NULL,
	security_groups_enabled BOOLEAN NOT NULL,
	local_storage_enabled BOOLEAN NOT NULL,
	dhcpprovider TEXT NOT NULL,
	type TEXT NOT NULL,
	sortkey BIGINT NOT NULL,
	zonetoken TEXT NOT NULL,
	resource_details TEXT,
	created TEXT NOT NULL,
	CONSTRAINT pk_zone PRIMARY KEY (number),
	CONSTRAINT uq_zone_id UNIQUE (id),
	CONSTRAINT uq_zone_name UNIQUE (name)
);
